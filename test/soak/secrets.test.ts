/**
 * Whoever can read what the gateway writes learns nothing that opens anything: no job token, no attempt secret, no credentials, no body,
 * whatever went wrong, in either format, on standard output, standard error and in the access log.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts'
import { type Answer, ask, type Asked } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'
import { tellFigures } from './form.ts'

const ADMIN_TOKEN = 'admin-opens-sesame-4711'
/** In every request; each may appear nowhere. */
const CREDENTIALS = {
  Authorization: 'Bearer client-opens-sesame-0815',
  'Proxy-Authorization': 'Basic cHJveHk6c2VzYW1l',
  Cookie: 'sid=cookie-sesame',
}
const BODY = 'body-sesame-bytes'
const QUERY = 'query-sesame'

interface Rig {
  readonly gateway: GatewayProcess
  readonly server: TestServer
  /** The part of a token behind the dot, and of a report URL. */
  readonly secrets: Set<string>
  /** The part before it, which may be told. */
  readonly ids: Set<string>
}

function secretIn(text: string): string {
  return /\.([A-Za-z0-9_-]{20,})/.exec(text)?.[1] ?? assert.fail(`no secret in ${text}`)
}

async function call(rig: Rig, path: string, asked: Asked = {}): Promise<Answer | undefined> {
  const headers = { ...CREDENTIALS, ...(asked.headers as Record<string, string> | undefined) }
  const answer = await ask(`${rig.gateway.url}${path}`, { ...asked, headers }).catch(() => undefined)
  const location = answer?.headers.location
  if (location !== undefined) {
    rig.secrets.add(secretIn(location))
    rig.ids.add(/([^/.]+)\./.exec(location)?.[1] as string)
  }
  return answer
}

/** Bytes as they are; resolves when the gateway has closed. */
function raw(rig: Rig, bytes: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(rig.gateway.port, '127.0.0.1', () => socket.write(bytes, 'latin1'))
    socket.on('data', () => undefined).on('error', () => undefined)
    socket.on('end', () => socket.end()).on('close', () => resolve())
  })
}

const POST: Asked = { method: 'POST', body: BODY }

/** Jobs in all ways, and their addresses in every spelling that somebody might try. */
async function useJobs(rig: Rig): Promise<void> {
  const accepted = await call(rig, `/queue/a?x=${QUERY}`, POST)
  const token = accepted?.headers.location ?? assert.fail('no job')
  const wrong = `${token.slice(0, -3)}zzz`
  rig.secrets.add(secretIn(wrong))
  const encoded = token.replace('.', '%2E')
  const paths = [
    token,
    `${token}/result?wait=5s`,
    `${token}/events`,
    wrong,
    `${wrong}/result`,
    encoded,
    `${token}/nothing`,
    `${token}/a/b/c`,
  ]
  for (const path of paths) for (const method of ['GET', 'HEAD', 'PUT', 'OPTIONS']) await call(rig, path, { method })
  const bare = token.slice('/_spillway/jobs/'.length)
  for (const path of [
    `/direct/${bare}`,
    `/none/${bare}`,
    `/_spillway/${bare}`,
    `/_spillway//jobs/${bare}`,
    `/_spillway/reports/${bare}`,
    `/_spillway/jobs/x/${bare}`,
  ]) {
    await call(rig, path, POST)
    await call(rig, path)
  }
  await call(rig, token, { method: 'DELETE' })
  await call(rig, `${token}?token=${bare}`)
  await call(rig, '/queue/events', { ...POST, headers: { Prefer: 'respond-async, events' } })
  for (const key of ['one', 'one', '"broken']) await call(rig, '/queue/k', { ...POST, headers: { 'Idempotency-Key': key } })
  await call(rig, '/queue/k', { method: 'POST', body: 'another', headers: { 'Idempotency-Key': 'one' } })
  await call(rig, '/queue/b', { ...POST, headers: { 'Spillway-Priority': '3' } })
  await call(rig, '/queue/large', { method: 'POST', body: BODY.repeat(1000) })
}

/** Requests that never become calls, and calls that fail. */
async function failInEveryWay(rig: Rig): Promise<void> {
  const fields = Object.entries(CREDENTIALS)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')
  const token = `01ABCDEFGHJKMNPQ.${[...rig.secrets][0]}`
  for (const start of [
    'GET  / HTTP/1.1',
    'GET /\x01 HTTP/1.1',
    `GET /_spillway/jobs/${token} HTTP/3.0`,
    `GET http://other.example/_spillway/jobs/${token} HTTP/1.1`,
    'POST /direct/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3',
    `GET /a/../_spillway/jobs/${token} HTTP/1.1`,
    `GET /${'x'.repeat(9000)} HTTP/1.1`,
    'TRACE / HTTP/1.1',
    'GET / HTTP/1.1\r\nNo colon here',
    'GET / HTTP/1.1\r\nConnection: close, Authorization, Cookie',
  ]) {
    await raw(rig, `${start}\r\nHost: x\r\nConnection: close\r\n${fields}\r\n`)
  }
  await raw(rig, `GET / HTTP/1.1\r\nHost: x\r\n${fields}X-Long: ${'y'.repeat(40_000)}\r\n\r\n`)
  await raw(rig, `POST /direct/x HTTP/1.1\r\nHost: x\r\n${fields}Transfer-Encoding: chunked\r\n\r\nnonsense ${BODY}\r\n\r\n`)
  for (const path of ['/direct/break', '/direct/nonsense', '/spill/break', '/queue/break', '/queue/fail', '/held/break', '/none']) {
    await call(rig, path, POST)
  }
  await rig.server.kill()
  for (const path of ['/direct/x', '/spill/x', '/held/x', '/queue/x']) await call(rig, path, POST)
}

async function askAdmin(rig: Rig): Promise<void> {
  const tokens = [ADMIN_TOKEN, 'wrong-sesame-token']
  for (const path of ['/status', '/metrics', '/nothing', '/readyz']) {
    for (const token of tokens) await ask(`${rig.gateway.adminUrl}${path}`, { headers: { Authorization: `Bearer ${token}` } })
    await ask(`${rig.gateway.adminUrl}${path}?access_token=${ADMIN_TOKEN}`)
  }
}

/** Echoes what it was sent, reports with its attempt's secret, and misbehaves where it is asked to. */
async function startServer(secrets: Set<string>): Promise<TestServer> {
  return startTestServer(async (received, response) => {
    const report = received.headers['spillway-report']
    if (typeof report === 'string') {
      secrets.add(secretIn(report))
      await ask(report, { method: 'POST', body: '{"done":1}' }).catch(() => undefined)
      await ask(`${report}x`, { method: 'POST', body: 'not json' }).catch(() => undefined)
    }
    if (received.url.endsWith('/break')) return void response.destroy()
    if (received.url.endsWith('/nonsense')) return void response.socket?.end(`nonsense ${CREDENTIALS.Authorization}\r\n\r\n`)
    if (received.url.endsWith('/fail')) response.statusCode = 500
    response.end(JSON.stringify(received.headers))
  })
}

async function runRig(t: TestContext, format: 'json' | 'text', access: 'file' | 'stdout'): Promise<void> {
  const secrets = new Set<string>()
  const server = await startServer(secrets)
  t.after(() => server.kill())
  await using gateway = await startGatewayProcess(`
admin: { address: 127.0.0.1:0, token: ${ADMIN_TOKEN} }
pools: { api: { servers: ["http://127.0.0.1:${server.port}"], wait: 100ms, health: { path: /healthz, interval: 200ms, rise: 1 } } }
queues: { jobs: { pool: api, attempts: 2, backoff: { base: 10ms, max: 20ms } } }
routes:
  - { match: "/direct/*" }
  - { match: "/queue/*", mode: queue, queue: jobs }
  - { match: "/held/*", mode: queue, queue: jobs, wait: 300ms }
  - { match: "/spill/*", mode: spill, queue: jobs, wait: 300ms, patience: 50ms }
limits: { jobBody: 16KiB, spillCopy: 16KiB }
drainTimeout: 1s
log: { format: ${format}, access: ${access === 'stdout' ? 'stdout' : './access.log'} }
`)
  const rig: Rig = { gateway, server, secrets, ids: new Set() }
  await useJobs(rig)
  await askAdmin(rig)
  await failInEveryWay(rig)
  // A hand-out that failed is told as an event, in its own time.
  await until('the failed attempts have been told', () => /attempt-failed|attempt \d+ on/.test(gateway.output()))
  assert.equal(await gateway.stop(), 0)

  const written = gateway.output() + (access === 'file' ? readFileSync(join(gateway.folder, 'access.log'), 'utf8') : '')
  const opening = Object.values(CREDENTIALS).map((value) => value.split(/[ =]/).at(-1) as string)
  const forbidden = [...secrets, ...opening, ADMIN_TOKEN, 'wrong-sesame-token', BODY, QUERY, 'sesame']
  for (const secret of forbidden) assert.ok(!written.includes(secret), `${secret} in: ${lineWith(written, secret)}`)
  const calls = written.split('\n').length
  // What was looked through is what it should be: a rig that writes nothing finds nothing.
  const ids = [...rig.ids].filter((id) => written.includes(id))
  assert.ok(ids.length > 3, 'jobs are named by their ids')
  for (const word of ['/_spillway/jobs/', '/direct/', 'bad_request', 'POST']) assert.ok(written.includes(word), `nothing about ${word}`)
  tellFigures(t, `${format} events, access log on ${access}: none of ${forbidden.length} secrets in ${calls} lines`)
}

function lineWith(text: string, part: string): string {
  return text.split('\n').find((line) => line.includes(part)) ?? ''
}

test('nothing that the gateway writes opens anything: JSON events, access log in a file', (t) => runRig(t, 'json', 'file'))
test('nothing that the gateway writes opens anything: text events, access log between them', (t) => runRig(t, 'text', 'stdout'))
