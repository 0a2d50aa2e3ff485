/** A pool that learns how many requests its servers bear, in front of a server whose capacity is set by timers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startGatewayRig } from '../support/gateway-rig.ts'
import { ask } from '../support/http-client.ts'
import { startTimedServer } from '../support/timed-server.ts'
import { until } from '../support/until.ts'

const SLOTS = 5
const WORK_MS = 20
const CLIENTS = 80

test('with more than a server bears it gets what it can work on and a little more, and the rest waits where others can take it', async (t) => {
  const server = await startTimedServer(SLOTS, () => WORK_MS)
  t.after(() => server.close())
  await using rig = await startGatewayRig([Number(new URL(server.url).port)], {
    pool: { maxInFlight: 200, adaptiveMin: 4, waitMs: 10_000 },
  })
  let stopped = false
  let answered = 0
  const client = async (): Promise<void> => {
    for (; !stopped; answered++) await ask(rig.url)
  }
  const clients = Array.from({ length: CLIENTS }, client)
  try {
    const slots = async (): Promise<number> => (await rig.pool()).servers[0]?.slots ?? Number.POSITIVE_INFINITY
    await until('it has learnt', async () => (await slots()) >= SLOTS)
    const enough = answered + 500
    await until('it has gone on like that', () => answered >= enough)
    assert.ok((await slots()) <= 3 * SLOTS, `a limit of ${await slots()} for ${SLOTS}`)
    const inFlight = (await rig.pool()).servers[0]?.inFlight ?? CLIENTS
    assert.ok(inFlight <= 3 * SLOTS + 1, `${inFlight} in flight`)
    await until('the others wait in line', async () => (await rig.pool()).waiting >= CLIENTS - 4 * SLOTS)
  } finally {
    stopped = true
    await Promise.all(clients)
  }
  await rig.untilIdle()
})

test('a server that bears more gets more than it had at first', async (t) => {
  const server = await startTimedServer(1000, () => WORK_MS)
  t.after(() => server.close())
  await using rig = await startGatewayRig([Number(new URL(server.url).port)], { pool: { maxInFlight: 60, adaptiveMin: 4, waitMs: 10_000 } })
  assert.equal((await rig.pool()).servers[0]?.slots, 4)
  let stopped = false
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (!stopped) await ask(rig.url)
  })
  try {
    await until('it has learnt', async () => ((await rig.pool()).servers[0]?.slots ?? 60) >= 24)
  } finally {
    stopped = true
    await Promise.all(clients)
  }
})
