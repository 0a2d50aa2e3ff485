/** Who gets the next slot, and who is refused, where requests are not equally urgent. */
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import type { PoolConfig, RouteConfig } from '../../src/config/config.ts'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { testRoute } from '../support/test-config.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

interface Scene extends AsyncDisposable {
  readonly rig: GatewayRig
  /** Paths, in the order in which they came to the only server, which works on one at a time. */
  readonly came: readonly string[]
  /** Gets in line, and waits until it is there. */
  lineUp(path: string, priority?: number): Promise<{ answer: Promise<Answer> }>
  send(path: string, priority?: number | string): Promise<Answer>
  /** Answers the one that is at the server, and waits for the next. */
  next(): Promise<void>
}

const route = (path: string, change: Partial<RouteConfig>): RouteConfig =>
  testRoute({ name: path, mode: 'direct', match: { path, headers: [], query: [] }, allow: [], ...change })

const ROUTES: readonly RouteConfig[] = [
  route('/low/*', { priority: 1 }),
  route('/chosen/*', { allow: ['priority'] }),
  route('/high/*', { priority: 9 }),
  route('/*', {}),
]

async function scene(pool: Partial<PoolConfig> = {}, change: Partial<RouteConfig> = {}): Promise<Scene> {
  const came: string[] = []
  let busy: ServerResponse | undefined
  const server = await startTestServer(({ url }, response) => {
    came.push(url)
    busy = response
  })
  const routes = ROUTES.map((each) => ({ ...each, ...change }))
  const rig = await startGatewayRig([server.port], { routes, pool: { maxInFlight: 1, waitMs: 60_000, ...pool } })
  const send: Scene['send'] = (path, priority) => {
    const answer = ask(`${rig.url}${path}`, { headers: priority === undefined ? {} : { 'Spillway-Priority': String(priority) } })
    // Whoever still waits when the test is over gets none.
    answer.catch(() => undefined)
    return answer
  }
  void send('/first')
  await until('the only slot is taken', () => came.length === 1)
  return {
    rig,
    came,
    send,
    async lineUp(path, priority) {
      const { waiting } = await rig.pool()
      const answer = send(path, priority)
      await rig.untilWaiting(waiting + 1)
      return { answer }
    },
    async next() {
      const before = came.length
      busy?.end('done')
      await until('the next one is there', () => came.length > before)
    },
    async [Symbol.asyncDispose]() {
      await server.kill()
      await rig[Symbol.asyncDispose]()
    },
  }
}

test('the more urgent goes first: by its route, or by what the client says where it may', async () => {
  await using it = await scene()
  const waiting = [
    await it.lineUp('/low/1'),
    await it.lineUp('/chosen/0', 0),
    await it.lineUp('/plain'),
    await it.lineUp('/chosen/silent'),
    await it.lineUp('/chosen/7', 7),
    await it.lineUp('/high/1'),
  ]
  for (const _ of waiting) await it.next()
  assert.deepEqual(it.came, ['/first', '/high/1', '/chosen/7', '/plain', '/chosen/silent', '/low/1', '/chosen/0'])
})

test('what a client says counts only where the route allows it, and has to be a digit', async () => {
  await using it = await scene()
  await it.lineUp('/plain')
  await it.lineUp('/low/9', 9)
  await it.next()
  assert.deepEqual(it.came, ['/first', '/plain'])
  for (const wrong of ['10', '-1', 'high', '']) {
    const refused = await it.send('/chosen/x', wrong)
    assert.deepEqual([refused.status, refused.json()['code']], [400, 'bad_header'], wrong)
  }
})

test('when the line is full a less urgent one makes room, and who is no more urgent than all of them is refused', async () => {
  await using it = await scene({ maxWaiting: 2 })
  const plain = await it.lineUp('/plain')
  const low = await it.lineUp('/low/1')
  const urgent = it.send('/high/1')
  const made = await low.answer
  assert.deepEqual([made.status, made.json()['code']], [503, 'too_many_waiting'])
  assert.match(String(made.headers['retry-after']), /^[1-9]\d?$/)
  const refused = await it.send('/other')
  assert.deepEqual([refused.status, refused.json()['code']], [503, 'too_many_waiting'])
  await it.next()
  await it.next()
  assert.deepEqual(it.came, ['/first', '/high/1', '/plain'])
  await it.rig.gateway.close()
  await Promise.allSettled([plain.answer, urgent])
})

test('while the line fills up low priorities are refused first, along the curve, and the highest only when it is full', async () => {
  await using it = await scene({ maxWaiting: 20 }, { shedFrom: 0.5 })
  const waiting: Promise<Answer>[] = []
  const isTaken = async (path: string, priority: number): Promise<boolean> => {
    let refused: Answer | undefined
    const answer = it.send(path, priority)
    answer.then(
      (told) => (refused = told),
      () => undefined,
    )
    await until('it waits or is refused', async () => refused !== undefined || (await it.rig.pool()).waiting > waiting.length)
    if (refused === undefined) waiting.push(answer)
    else assert.deepEqual([refused.status, refused.json()['code']], [503, 'shed'])
    return refused === undefined
  }
  // 20 × (0.5 + 0.5 × ∛0.1) = 14.6, and × ∛0.6 = 18.4: so many may wait when one of priority 0, or 5, gets in.
  while (waiting.length < 15) assert.ok(await isTaken('/chosen/0', 0), `with ${waiting.length}`)
  assert.equal(await isTaken('/chosen/0', 0), false)
  while (waiting.length < 19) assert.ok(await isTaken('/chosen/5', 5), `with ${waiting.length}`)
  assert.equal(await isTaken('/chosen/5', 5), false)
  assert.ok(await isTaken('/chosen/9', 9))
  await it.rig.gateway.close()
  await Promise.allSettled(waiting)
})
