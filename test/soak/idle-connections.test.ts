/** Clients that keep their connection and say nothing are cheap. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FastClient } from '../support/fast-client.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'
import { mib, MIB, sized, tellFigures } from './form.ts'

const CONNECTIONS = sized([5000, 500])
const GROWTH_MAX = 120 * MIB
const AT_ONCE = 50

test('thousands of idle connections cost little, and nothing once they are gone', async (t) => {
  const server = await startTestServer()
  await using gateway = await startGatewayProcess(`
pools: { api: ["http://127.0.0.1:${server.port}"] }
routes: [{ match: "/*" }]
`)
  const clients: FastClient[] = []
  /** Each has been served once, so that what a call leaves behind counts too. */
  const open = async (): Promise<void> => {
    const client = await FastClient.connect(gateway.port)
    clients.push(client)
    assert.equal((await client.send('GET', '/')).status, 200)
  }
  try {
    await open()
    const before = gateway.rssAnonBytes()
    while (clients.length <= CONNECTIONS) await Promise.all(Array.from({ length: AT_ONCE }, open))
    assert.ok((await gateway.metrics()).sum('spillway_connections') > CONNECTIONS)
    const growth = gateway.rssAnonBytes() - before
    tellFigures(t, `${CONNECTIONS} idle connections: RssAnon +${mib(growth)}, ${(growth / clients.length / 1024).toFixed(1)} KiB each`)
    assert.ok(growth < GROWTH_MAX, `RssAnon grew by ${mib(growth)}`)
  } finally {
    for (const client of clients) client.close()
  }
  await until('the gateway has noticed that they are gone', async () => (await gateway.metrics()).sum('spillway_connections') === 0)
  await server.kill()
})
