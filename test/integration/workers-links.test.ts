/** The connections between threads: as many as are needed, and what goes over them means the same at both ends. */
import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { HandedOver } from '../../src/net/handed-over.ts'
import type { NetworkSocket } from '../../src/ports/network.ts'
import { type ConfigRig, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { RawClient, rawAsk } from '../support/raw-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

/** So many connections that each thread gets some. */
const MANY = 48
const AT_THE_CHIEF = '/_spillway/jobs/none'

async function scene(t: TestContext, handle?: TestServer['handle']): Promise<{ rig: ConfigRig; port: number; server: TestServer }> {
  const server = await startTestServer(handle)
  t.after(() => server.kill())
  const rig = await startConfigRig({
    workers: 3,
    pools: { api: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms', rise: 1 } } },
    routes: [{ match: '/*', pool: 'api' }],
  })
  t.after(() => rig[Symbol.asyncDispose]())
  await until('the server is up', () => rig.events.some(({ type }) => type === 'server-up'))
  return { rig, server, port: Number(new URL(rig.url).port) }
}

async function metric(rig: ConfigRig, name: string): Promise<number> {
  const { text } = await ask(`${rig.adminUrl}/metrics`)
  return Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1])
}

test('a client that leaves takes its connection to the chief with it', async (t) => {
  const { rig, port } = await scene(t)
  const before = await metric(rig, 'spillway_deadlines')
  for (let n = 0; n < MANY; n++) {
    const client = await RawClient.connect(port)
    client.write(`GET ${AT_THE_CHIEF} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await client.untilText('404')
    client.destroy()
  }
  await until('all clients have left', async () => (await metric(rig, 'spillway_connections')) === 0)
  // Whatever the workers ended before they handed these over, the chief has heard of.
  for (let round = 0; round < 3; round++) await Promise.all(Array.from({ length: MANY }, () => ask(rig.url + AT_THE_CHIEF)))
  const left = (await metric(rig, 'spillway_deadlines')) - before
  assert.ok(left < MANY / 4, `${left} connections are left`)
})

test('who asks for the options of the whole server by an https URL gets the same from any thread', async (t) => {
  const { port } = await scene(t)
  for (let n = 0; n < MANY / 4; n++) {
    const { status } = await rawAsk(port, 'OPTIONS https://a HTTP/1.1\r\nHost: a\r\n\r\n')
    assert.equal(status, 421)
  }
})

test('a head that is as long as it may be, and has as many fields, is not too long for the chief', async (t) => {
  const { rig, port } = await scene(t)
  const { head: bytes, headers } = rig.gateway.config.limits
  const [start, end] = [`GET ${AT_THE_CHIEF} HTTP/1.1\r\nHost:a\r\n`, '\r\n']
  const lines = Array.from({ length: headers - 2 }, (_, n) => `x-${n}:1\r\n`).join('')
  const last = `y:${'1'.repeat(bytes - start.length - lines.length - end.length - 4)}\r\n`
  for (let n = 0; n < MANY / 4; n++) assert.equal((await rawAsk(port, start + lines + last + end)).status, 404)
  assert.equal((await rawAsk(port, `${start}${lines}1${last}${end}`)).status, 431)
})

test('a stranger on this machine who does not know the secret is sent away by his first bytes', async () => {
  // Its time never passes.
  const handedOver = new HandedOver('s'.repeat(43), new ManualClock())
  for (const said of [
    'GET / HTTP/1.1\r\nHost: a'.padEnd(100),
    JSON.stringify({ secret: 't'.repeat(43) }),
    `{"secret":"${'s'.repeat(42)}"`,
  ]) {
    const socket = new PassThrough()
    const gone = Promise.withResolvers<void>()
    handedOver.receive(socket as unknown as NetworkSocket, { ready: () => assert.fail('he is let in'), gone: gone.resolve })
    socket.write(said.padEnd(60, 'x'))
    await gone.promise
    assert.ok(socket.destroyed)
  }
})

test('the Host that a server sees is spelled as its client has spelled it, whatever thread sends it there', async (t) => {
  const { port, server } = await scene(t)
  for (let n = 0; n < MANY / 4; n++) await rawAsk(port, `OPTIONS /${n} HTTP/1.1\r\nHost: Api.Example\r\n\r\n`)
  const hosts = server.received.filter(({ method }) => method === 'OPTIONS').map(({ headers }) => headers.host)
  assert.deepEqual([hosts.length, ...new Set(hosts)], [MANY / 4, 'Api.Example'])
})
