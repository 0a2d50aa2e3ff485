/** The gateway has too much to do itself: who is let in, who is refused, and what goes on. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { GuardRules } from '../../src/core/admission/guard.ts'
import { memoryShare } from '../../src/gateway/guard-signals.ts'
import { FastClient } from '../support/fast-client.ts'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { ask } from '../support/http-client.ts'
import { testRoute } from '../support/test-config.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

async function scene(t: TestContext, guard: GuardRules): Promise<GatewayRig> {
  const server = await startTestServer()
  t.after(() => server.kill())
  const route = (path: string, priority?: number): ReturnType<typeof testRoute> =>
    testRoute({
      ...{ name: path, mode: 'direct', match: { path, headers: [], query: [] } },
      ...(priority !== undefined && { priority }),
    })
  const jobs = testRoute({
    name: 'POST /jobs',
    mode: 'queue',
    priority: 9,
    match: { path: '/jobs', methods: ['POST'], headers: [], query: [] },
  })
  const routes = [jobs, route('/low', 0), route('/high', 8), route('/highest', 9), route('/*')]
  const rig = await startGatewayRig([server.port], { routes, config: { guard } })
  t.after(() => rig.gateway.close())
  return rig
}

const levels = (rig: GatewayRig): readonly string[] => rig.events.flatMap((event) => (event.type === 'guard' ? [event.level] : []))

/** Of what is there: so much pressure, give or take what the memory of this process changes by. */
const pressing = (pressure: number): GuardRules => ({ memory: { from: 0, full: memoryShare() / pressure } })

test('first new connections are let in slowly, and whoever is in is served', async (t) => {
  const rig = await scene(t, { memory: { from: 1e-9, full: 1e9 } })
  await until('it is slow', () => levels(rig).includes('slow'))
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask(`${rig.url}/low`)))
  assert.ok(answers.every(({ status }) => status === 200))
  assert.deepEqual(levels(rig), ['slow'])
})

test('then requests are refused by priority, cheaply and with a time to come back', async (t) => {
  const rig = await scene(t, pressing(0.75))
  await until('it sheds', () => levels(rig).includes('shed'))
  let refused = await ask(`${rig.url}/low`)
  // What is pressing is the memory of this process, which comes and goes a little.
  await until('the least urgent is refused', async () => (refused = await ask(`${rig.url}/low`)).status === 503)
  assert.deepEqual([refused.status, refused.json()['code']], [503, 'overloaded'])
  assert.match(String(refused.headers['retry-after']), /^[1-9]\d?$/)
  assert.equal((await ask(`${rig.url}/high`)).status, 200)
  const status = (await ask(`http://127.0.0.1:${rig.gateway.admin.port}/status`)).json() as { guard: { level: string; signal: string } }
  assert.deepEqual([status.guard.level, status.guard.signal], ['shed', 'memory'])
  const { text } = await ask(`http://127.0.0.1:${rig.gateway.admin.port}/metrics`)
  assert.match(text, /^spillway_guard_refused_total\{priority="0"\} [1-9]/m)
  assert.match(text, /^spillway_guard_level 2$/m)
})

test('in full need nobody is served, but health, metrics and the admin address, and whoever asks about jobs is refused after direct requests', async (t) => {
  const rig = await scene(t, pressing(2))
  await until('it sheds', () => levels(rig).includes('shed'))
  for (const path of ['/low', '/high', '/highest', '/any']) assert.equal((await ask(`${rig.url}${path}`)).status, 503, path)
  assert.equal((await ask(`${rig.url}/_spillway/jobs/none`)).status, 503)
  assert.equal((await ask(`${rig.url}/_spillway/batches`, { method: 'POST', body: '{}' })).json()['code'], 'overloaded')
  assert.notEqual((await ask(`${rig.url}/_spillway/jobs/none`, { method: 'DELETE' })).json()['code'], 'overloaded')
  for (const path of ['/healthz', '/readyz', '/metrics', '/status']) {
    assert.equal((await ask(`http://127.0.0.1:${rig.gateway.admin.port}${path}`)).status, 200, path)
  }
})

test('an event loop that is late is seen, and seen to be over', async (t) => {
  const rig = await scene(t, { loopDelay: { from: 50, full: 500 } })
  const client = await FastClient.connect(rig.port)
  t.after(() => client.close())
  await until('it is seen', () => {
    const until = performance.now() + 150
    while (performance.now() < until) Math.sqrt(2)
    return levels(rig).length > 0
  })
  assert.ok([200, 503].includes((await client.send('GET', '/low')).status))
  await until('it is over', () => levels(rig).at(-1) === 'calm')
})
