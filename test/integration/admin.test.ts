/** The admin address over real sockets. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, connect, type AddressInfo } from 'node:net'
import { type IncomingHttpHeaders, request } from 'node:http'
import { test, type TestContext } from 'node:test'
import { type Admin, type AdminOptions, startAdmin } from '../../src/admin/admin.ts'
import type { AdminSources, AdminStatus, Readiness } from '../../src/admin/status.ts'
import { createTelemetry } from '../../src/telemetry/create-telemetry.ts'
import { until } from '../support/until.ts'

const STATUS: AdminStatus = {
  version: '1.2.3',
  pid: 1,
  uptimeMs: 5,
  ready: { ok: true, reason: 'ready' },
  listeners: ['127.0.0.1:8080'],
  config: { readAt: 0, needsRestart: [] },
  store: { engine: 'memory', generation: 1, corrupt: 0, syncs: { count: 0, meanMs: 0, worstMs: 0 } },
  pools: [],
  queues: [],
  routes: [{ name: 'POST /reports', mode: 'queue', pool: 'api', queue: 'reports' }],
  webhooks: [],
  certificates: [],
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

function ask(admin: Admin, path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ host: admin.address.host, port: admin.address.port, path, headers, method, agent: false }, (res) => {
      let body = ''
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        body += chunk
      })
      res.on('end', () => resolve({ status: res.statusCode as number, headers: res.headers, body }))
    })
    req.on('error', reject)
    req.end()
  })
}

interface Rig {
  readonly admin: Admin
  readonly events: string[]
  ready: Readiness
}

async function start(t: TestContext, options: Partial<AdminOptions> = {}, sources: Partial<AdminSources> = {}): Promise<Rig> {
  const events: string[] = []
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: (line) => events.push(line) })
  const rig = { events, ready: { ok: true, reason: 'ready' } as Readiness }
  const admin = await startAdmin({
    address: { host: '127.0.0.1', port: 0 },
    telemetry,
    sources: {
      ready: () => rig.ready,
      status: () => Promise.resolve(STATUS),
      refresh: () => Promise.resolve(),
      countedElsewhere: () => Promise.resolve([]),
      ...sources,
    },
    ...options,
  })
  t.after(async () => {
    await admin.close()
    await telemetry.close()
  })
  return Object.assign(rig, { admin })
}

test('health says that the process lives, readiness that it can take traffic', async (t) => {
  const rig = await start(t)
  assert.equal((await ask(rig.admin, '/healthz')).status, 200)
  assert.deepEqual(pick(await ask(rig.admin, '/readyz')), [200, 'ready\n'])
  for (const reason of ['starting', 'draining', 'store failed', 'store corrupt']) {
    rig.ready = { ok: false, reason }
    assert.deepEqual(pick(await ask(rig.admin, '/readyz')), [503, `${reason}\n`])
    assert.equal((await ask(rig.admin, '/healthz')).status, 200)
  }
})

test('metrics come as Prometheus text, refreshed before', async (t) => {
  let refreshed = 0
  const { admin } = await start(t, {}, { refresh: () => Promise.resolve(void refreshed++) })
  const answer = await ask(admin, '/metrics')
  assert.equal(answer.status, 200)
  assert.equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8')
  assert.match(answer.body, /^# TYPE process_cpu_seconds_total counter$/m)
  assert.equal(refreshed, 1)
})

test('metrics are served when the store fails or hangs', async (t) => {
  const failing = await start(t, {}, { refresh: () => Promise.reject(new Error('disk')) })
  assert.equal((await ask(failing.admin, '/metrics')).status, 200)
  const hanging = await start(t, { patienceMs: 5 }, { refresh: () => new Promise(() => {}) })
  assert.equal((await ask(hanging.admin, '/metrics')).status, 200)
})

test('status is JSON; without the store it is a 503 that says why', async (t) => {
  const { admin } = await start(t)
  const answer = await ask(admin, '/status')
  assert.deepEqual(JSON.parse(answer.body), STATUS)
  assert.equal(answer.headers['cache-control'], 'no-store')
  const broken = await start(t, {}, { status: () => Promise.reject(new Error('the store failed')) })
  const refused = await ask(broken.admin, '/status')
  assert.equal(refused.status, 503)
  assert.deepEqual(JSON.parse(refused.body), { title: 'the store failed', status: 503 })
  assert.deepEqual(broken.events, ['warning: admin /status: the store failed'])
})

test('with a token metrics and status need it, health and readiness do not', async (t) => {
  const { admin } = await start(t, { token: 's3cret' })
  for (const path of ['/metrics', '/status']) {
    const refused = await ask(admin, path, { authorization: 'Bearer wrong' })
    assert.equal(refused.status, 401)
    assert.match(refused.headers['www-authenticate'] as string, /^Bearer /)
    assert.equal((await ask(admin, path, { authorization: 'Bearer s3cret' })).status, 200)
  }
  for (const path of ['/healthz', '/readyz']) assert.equal((await ask(admin, path)).status, 200)
})

test('without a token a foreign host name is refused', async (t) => {
  const { admin } = await start(t)
  assert.equal((await ask(admin, '/status', { host: 'evil.example:9900' })).status, 421)
  assert.equal((await ask(admin, '/status', { host: 'localhost:9900' })).status, 200)
})

test('other paths are 404, other methods 405, HEAD has no body', async (t) => {
  const { admin } = await start(t)
  assert.equal((await ask(admin, '/nothing')).status, 404)
  const refused = await ask(admin, '/status', {}, 'POST')
  assert.deepEqual([refused.status, refused.headers.allow], [405, 'GET, HEAD'])
  assert.deepEqual(pick(await ask(admin, '/healthz', {}, 'HEAD')), [200, ''])
})

test('a port in use is one clear error', async (t) => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.after(() => other.close())
  const { port } = other.address() as AddressInfo
  await assert.rejects(start(t, { address: { host: '127.0.0.1', port } }), {
    message: `admin cannot listen on 127.0.0.1:${port}: the port is in use`,
  })
})

test('the n-th connection is served, the n+1-th is closed', async (t) => {
  const { admin } = await start(t, { connectionsMax: 2 })
  const open = async (): Promise<string> => {
    const socket = connect(admin.address.port, admin.address.host)
    t.after(() => socket.destroy())
    socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const [outcome] = await Promise.race([once(socket, 'data').then(() => ['served']), once(socket, 'close').then(() => ['closed'])])
    return outcome as string
  }
  assert.deepEqual([await open(), await open(), await open()], ['served', 'served', 'closed'])
})

test('connections that say nothing are closed when their time is up, and free their place', async (t) => {
  const { admin } = await start(t, { connectionsMax: 2, headMs: 50 })
  const silent = [0, 1].map(() => connect(admin.address.port, admin.address.host))
  t.after(() => silent.map((socket) => socket.destroy()))
  await Promise.all(silent.map((socket) => once(socket, 'connect')))
  await until('somebody is served again', async () => (await ask(admin, '/healthz').catch(() => undefined))?.status === 200)
})

test('close ends idle keep-alive connections and frees the port', async (t) => {
  const { admin } = await start(t)
  const socket = connect(admin.address.port, admin.address.host)
  socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await once(socket, 'data')
  const closed = once(socket, 'close')
  await admin.close()
  await closed
  await assert.rejects(ask(admin, '/healthz'), { code: 'ECONNREFUSED' })
})

function pick(answer: Answer): [number, string] {
  return [answer.status, answer.body]
}
