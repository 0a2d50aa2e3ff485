/**
 * Spillway as anyone would run it, through the queue API of a listener (`docs/queue-api.md`): batches over plain HTTP/1.1 with keep-alive, long
 * polls, settling in batches. Every answer comes after the sync. Settled jobs go after a second, as those of the other arms go at once.
 */
import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import path from 'node:path'
import process from 'node:process'
import { type Cores, freePort, ROOT, startPinned, untilAnswers } from '../machine.ts'
import type { BrokerArm, BrokerClient, Consumer, ConsumerEvents, RunningBroker } from './broker.ts'
import { bodyText, jobOf } from './job-body.ts'

const QUEUE = 'jobs'
const BATCH = 100
const RECEIVERS = 4
const WAIT = '500ms'
const LEASE = '60s'

/** As large as it may get; what is settled is forgotten after a second. */
const QUEUE_SETTINGS = { keep: '1s', limits: { jobs: 100_000_000, bytes: '1000GiB', finished: '1000GiB' } }

/** A configuration must have a route, though nobody uses it here: its only server is a port that nobody listens on. */
function configText(ports: { readonly listen: number; readonly admin: number; readonly closed: number }, token: string): string {
  return `listeners: [ { address: 127.0.0.1:${ports.listen} } ]
admin: { address: 127.0.0.1:${ports.admin} }
store: { engine: embedded, path: ./data }
api: { keys: [ { name: bench, token: ${token}, queues: [ ${QUEUE} ], can: [ send, receive, browse, manage ] } ] }
pools: { absent: [ http://127.0.0.1:${ports.closed} ] }
routes: [ { match: "/*" } ]
`
}

async function start(cores: Cores, folder: string, nodeArgs: readonly string[]): Promise<RunningBroker> {
  const ports = { listen: await freePort(), admin: await freePort(), closed: await freePort() }
  const token = randomBytes(16).toString('hex')
  const config = path.join(folder, 'spillway.yaml')
  writeFileSync(config, configText(ports, token))
  const started = startPinned(cores, process.execPath, [...nodeArgs, path.join(ROOT, 'src', 'main.ts'), 'run', config])
  await untilAnswers(`http://127.0.0.1:${ports.admin}/readyz`, 200, started)
  return { started, address: `http://:${token}@127.0.0.1:${ports.listen}/_spillway/api`, stop: () => started.stop() }
}

interface ReceivedJob {
  readonly receipt: string
  readonly text: string
}

class Api {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 })
  readonly #url: URL
  readonly #headers: Readonly<Record<string, string>>

  constructor(address: string) {
    this.#url = new URL(address)
    this.#headers = { authorization: `Bearer ${this.#url.password}`, 'content-type': 'application/json' }
  }

  /** Rejects unless the answer is a 2xx. */
  call<T>(method: 'GET' | 'POST' | 'PUT', below: string, body?: object): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
    const outgoing = request({
      host: this.#url.hostname,
      port: this.#url.port,
      path: `${this.#url.pathname}/queues/${QUEUE}${below}`,
      method,
      agent: this.#agent,
      headers: { ...this.#headers, ...(text !== undefined && { 'content-length': text.length }) },
    })
    outgoing.on('error', reject)
    outgoing.on('response', (answer) => {
      const chunks: Buffer[] = []
      answer.on('data', (chunk: Buffer) => chunks.push(chunk))
      answer.on('error', reject)
      answer.on('end', () => {
        const answerText = Buffer.concat(chunks).toString()
        if (answer.statusCode === undefined || answer.statusCode > 299) {
          reject(new Error(`${method} ${below}: ${answer.statusCode} ${answerText.slice(0, 500)}`))
        } else resolve((answerText === '' ? undefined : JSON.parse(answerText)) as T)
      })
    })
    outgoing.end(text)
    return promise
  }

  /** Every item must have come to `status`. */
  async callForEach(below: string, body: object, status: string): Promise<void> {
    const { results } = await this.call<{ readonly results: readonly { readonly status: string }[] }>('POST', below, body)
    const other = results.find((result) => result.status !== status)
    if (other !== undefined) throw new Error(`POST ${below}: ${JSON.stringify(other)}`)
  }

  close(): void {
    this.#agent.destroy()
  }
}

function startReceivers(api: Api, events: ConsumerEvents): Consumer {
  let stopping = false
  const receiver = async (): Promise<void> => {
    while (!stopping) {
      const { jobs } = await api.call<{ readonly jobs: readonly ReceivedJob[] }>('POST', '/receive', {
        max: BATCH,
        wait: WAIT,
        lease: LEASE,
      })
      if (jobs.length === 0) continue
      events.started(jobs.map(({ text }) => jobOf(text)))
      await api.callForEach('/settle', { settlements: jobs.map(({ receipt }) => ({ receipt, outcome: 'succeed' })) }, 'settled')
      events.settled(jobs.length)
    }
  }
  const receivers = Array.from({ length: RECEIVERS }, () => receiver().catch((error: Error) => events.failed(error)))
  return {
    stop: async () => {
      stopping = true
      await Promise.all(receivers)
    },
  }
}

async function connect(address: string): Promise<BrokerClient> {
  const api = new Api(address)
  await api.call('PUT', '', QUEUE_SETTINGS)
  const depth = async (): Promise<number> => {
    const { counts } = await api.call<{ readonly counts: Readonly<Record<string, number>> }>('GET', '')
    return ['queued', 'running', 'retrying'].reduce((sum, status) => sum + (counts[status] ?? 0), 0)
  }
  return {
    batch: BATCH,
    publish: (jobs) => api.callForEach('/jobs', { jobs: jobs.map((job) => ({ text: bodyText(job) })) }, 'created'),
    consume: async (events) => startReceivers(api, events),
    depth,
    purge: async () => {
      await api.call('POST', '/purge', { confirm: QUEUE })
      // It is worked off in steps.
      while ((await depth()) > 0) await new Promise((resolve) => setTimeout(resolve, 50))
    },
    close: async () => api.close(),
  }
}

export const spillway: BrokerArm = { missing: () => undefined, start, connect, version: () => undefined }
