/** The rules of spill, 14 to 16: clients that repeat, that come in floods, and what they are told when the gateway or its store fails. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { WebSocket as WsClient } from 'ws'
import type { ConfigFile } from '../../src/config/schema.ts'
import { startGateway } from '../support/child-gateway.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { isJob, spillScene } from '../support/spill-scene.ts'
import { testConfig } from '../support/test-config.ts'
import { until } from '../support/until.ts'
import { readExecutions } from '../support/work-log.ts'
import { startWorkingServer } from '../support/working-server.ts'

const KEYED = { 'idempotency-key': 'one' }

test('rule 14: served at once, repeated when all servers are down: the same answer, and the server saw it once', async () => {
  await using it = await spillScene()
  const first = await it.send('quick-order', { headers: KEYED })
  assert.deepEqual([first.status, first.text], [200, 'quick-order done'])
  await it.killServers()
  const again = await it.send('quick-order', { headers: KEYED })
  assert.deepEqual([again.status, again.text, again.headers['idempotency-replayed']], [200, 'quick-order done', 'true'])
  assert.equal(again.headers['spillway-job'], first.headers['spillway-job'])
  assert.deepEqual(it.names, ['quick-order'])
})

test('rule 14: a spilled request that is repeated is one job, and both clients get its answer', async () => {
  await using it = await spillScene()
  await it.killServers()
  const accepted = await it.send('quick-order', { headers: { ...KEYED, prefer: 'wait=0' } })
  assert.equal(accepted.status, 202)
  const held = [it.send('quick-order', { headers: KEYED }), it.send('quick-order', { headers: KEYED })]
  const other = await it.send('quick-other', { headers: KEYED })
  assert.deepEqual([other.status, other.json()['code']], [422, 'idempotency_conflict'])
  await it.reviveServers()
  for (const answer of await Promise.all(held)) {
    assert.deepEqual([answer.status, answer.text], [200, 'quick-order done'])
    assert.equal(answer.headers['spillway-job'], accepted.headers['spillway-job'])
  }
  assert.deepEqual(it.names, ['quick-order'])
})

/** What a client is told that is refused a socket. */
function refusedSocket(url: string): Promise<{ readonly status: number | undefined; readonly retry: string | undefined }> {
  return new Promise((resolve) => {
    const socket = new WsClient(url)
    socket.on('error', () => undefined)
    socket.on('unexpected-response', (_, response) => {
      resolve({ status: response.statusCode, retry: response.headers['retry-after'] })
      response.destroy()
    })
  })
}

test('rule 15: one WebSocket more than may be is refused before the upgrade, for events of jobs as for tunnels', async () => {
  const { limits } = testConfig({ pools: [], queues: [], routes: [] })
  await using it = await spillScene({ pool: { maxTunnels: 1 }, config: { limits: { ...limits, eventSockets: 1 } } })
  const { rig } = it
  const base = rig.url.replace('http', 'ws')
  const server = rig.pool.servers[0]
  if (server !== undefined) server.tunnels = 1
  const events = new WsClient(`${base}/_spillway/events`)
  await until('it is open', () => events.readyState === WsClient.OPEN)
  for (const path of ['/_spillway/events', '/direct/socket']) {
    const refused = await refusedSocket(base + path)
    assert.equal(refused.status, 503, path)
    assert.match(String(refused.retry), /^[123]$/)
  }
  events.terminate()
  if (server !== undefined) server.tunnels = 0
})

test('rule 15: clients that are refused together are not told to come back together', async () => {
  await using it = await spillScene({ pool: { waitMs: 0 } })
  const busy = it.send('busy', { to: 'direct' })
  await it.at('busy')
  const hints = new Set<string>()
  await until('all hints were given', async () => {
    const refused = await it.send('refused', { to: 'direct' })
    assert.equal(refused.status, 503)
    hints.add(String(refused.headers['retry-after']))
    return hints.size === 3
  })
  assert.deepEqual([...hints].sort(), ['1', '2', '3'])
  ;(await it.at('busy')).finish()
  await busy
})

test('rule 15: at shutdown held clients are told where to look, and when', async () => {
  await using it = await spillScene()
  await it.killServers()
  const held = [it.send('one'), it.send('two')]
  await until('both are stored', async () => (await it.rig.store.stats())[0]?.counts.queued === 2)
  await it.rig.jobs.drain(0)
  for (const answer of await Promise.all(held)) {
    assert.deepEqual([answer.status, answer.headers.location !== undefined], [202, true])
    assert.match(String(answer.headers['retry-after']), /^[1-9]\d?$/)
  }
})

test('rule 16: a gateway that is killed while requests spill loses none of those that it accepted', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-rule-16-'))
  const log = join(folder, 'work.ndjson')
  const server = await startWorkingServer({ log, workMs: [1, 5] })
  const config = {
    pools: { api: { servers: [server.url], health: { interval: '100ms', rise: 1 } } },
    routes: [{ match: 'POST /orders', mode: 'spill', wait: '0s' }],
  } as ConfigFile
  let gateway = await startGateway(config, { folder })
  try {
    await server.kill()
    const accepted: string[] = []
    const post = async (n: number): Promise<void> => {
      const answer = await ask(`${gateway.url}/orders`, { method: 'POST', body: `order ${n}` }).catch(() => undefined)
      if (answer?.status === 202) accepted.push(String(answer.headers['spillway-job']))
    }
    for (let life = 0; life < 3; life++) {
      const before = accepted.length
      const posts = Array.from({ length: 200 }, (_, n) => post(1000 * life + n))
      await until('some are accepted, others are under way', () => accepted.length > before + 20)
      await gateway.kill()
      await Promise.all(posts)
      gateway = await startGateway(config, { folder })
    }
    await server.restart()
    // What has ended is read once: the log is long.
    await until('nothing is left to do', async () => {
      const { queues } = (await ask(`${gateway.adminUrl}/status`)).json() as { queues: { jobs: Record<string, number> }[] }
      const { queued = 0, running = 0, retrying = 0 } = queues[0]?.jobs ?? {}
      return queued + running + retrying === 0
    })
    const done = new Set(readExecutions(log).flatMap(({ job, endAt }) => (endAt === undefined ? [] : [job])))
    assert.deepEqual(
      accepted.filter((job) => !done.has(job)),
      [],
    )
  } finally {
    await gateway.kill()
    await server.kill()
    rmSync(folder, { recursive: true })
  }
})

test('rule 16: while the store stands still no 202 is given, and live requests go on', async () => {
  await using it = await spillScene({ pool: { maxInFlight: 64 } })
  const { store } = it.rig
  const submit = store.submit.bind(store)
  const stalled = Promise.withResolvers<void>()
  store.submit = async (jobs) => {
    await stalled.promise
    return submit(jobs)
  }
  let answered = 0
  const stored = Array.from({ length: 5 }, (_, n) =>
    it.send(`quick-stored-${n}`, { headers: { prefer: 'respond-async' } }).finally(() => answered++),
  )
  for (let n = 0; n < 20; n++) {
    const live: Answer = await it.send(`quick-live-${n}`)
    assert.deepEqual([live.status, isJob(live)], [200, false])
  }
  assert.equal(answered, 0, 'nothing is promised')
  stalled.resolve()
  for (const answer of await Promise.all(stored)) assert.equal(answer.status, 202)
})

test('rule 16: while the store fails, what must be stored is refused, and live requests go on', async () => {
  await using it = await spillScene({ pool: { maxInFlight: 64 } })
  it.rig.failNext.submit = 5
  for (let n = 0; n < 5; n++) {
    const refused = await it.send('stored', { headers: { prefer: 'respond-async' } })
    assert.deepEqual([refused.status, refused.json()['code'], isJob(refused)], [503, 'store_unavailable', false])
    assert.equal((await it.send(`quick-${n}`)).status, 200)
  }
  assert.ok(it.names.every((name) => name.startsWith('quick')))
})

test('rule 16: when the store cannot cancel what has waited long enough, its client is told where to look, not that nothing was done', async () => {
  await using it = await spillScene({ route: { onWait: 'cancel', waitMs: 300 } })
  await it.killServers()
  const { store } = it.rig
  const command = store.command.bind(store)
  store.command = () => Promise.reject(new Error('the store is gone for a moment'))
  const answer = await it.send('late')
  store.command = command
  assert.deepEqual([answer.status, answer.json()['code'], isJob(answer)], [503, 'store_unavailable', true])
  const self = it.rig.url + String(answer.headers.location)
  assert.equal((await ask(self)).json()['status'], 'queued')
  await until('it expires by itself', async () => (await ask(self)).json()['status'] === 'expired')
  assert.ok(!it.rig.events.some(({ type }) => type === 'warning'), 'the gateway itself did not fail')
})
