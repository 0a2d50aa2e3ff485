/** Two good configurations: the short form, and all of the long one. */
export const SHORT = `
pools: { api: [http://127.0.0.1:3001, http://127.0.0.1:3002] }
routes:
  - { match: POST /reports, mode: queue }
  - { match: "POST /orders/{id}", mode: spill, key: path:id }
  - { match: "/*" }
`

export const LONG = `
listeners: [ { address: 127.0.0.1:8080 } ]
admin: { address: 127.0.0.1:9900 }
store: { engine: embedded, path: ./data }
pools:
  api:
    servers: [ { url: http://127.0.0.1:3001, weight: 1 } ]
    balance: least-requests
    maxInFlight: 64
    wait: 2s
    health: { path: /healthz, interval: 2s, timeout: 1s, fall: 3, rise: 2 }
queues:
  reports:
    pool: api
    concurrency: 8
    attempts: 20
    backoff: { base: 1s, max: 30m }
    timeout: 60s
    expireAfter: never
    keep: 24h
    keepDead: 14d
    limits: { jobs: 1000000, bytes: 10GiB, finished: 10GiB }
routes:
  - match: { method: POST, path: /reports }
    mode: queue
    queue: reports
    wait: 0s
    key: header:X-Account
    allow: [prefer, idempotency-key, key, delay]
limits: { head: 32KiB, jobBody: 1MiB, result: 16MiB, spillCopy: 64KiB, buffered: 256MiB }
`

/** What a pool heeds where the file says nothing of it. */
export const SERVER_REPORTS = { load: { floor: 0.1, expireMs: 10_000 }, drain: { maxMs: 300_000 } }
