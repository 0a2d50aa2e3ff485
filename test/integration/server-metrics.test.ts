/** What the metrics tell of pools and servers: requests by how they ended, connections, times, waits. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { ask } from '../support/http-client.ts'
import { testRoute } from '../support/test-config.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

/** The value of a series; undefined: there is none. */
async function metric(rig: GatewayRig, series: string): Promise<number | undefined> {
  const { text } = await ask(`http://127.0.0.1:${rig.gateway.admin.port}/metrics`)
  const line = text.split('\n').find((each) => each.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}

interface Scene extends AsyncDisposable {
  readonly rig: GatewayRig
  readonly server: TestServer
  /** Of the server. */
  of(name: string, more?: string): Promise<number | undefined>
}

async function scene(handle: TestServer['handle'], options: Parameters<typeof startGatewayRig>[1] = {}): Promise<Scene> {
  const server = await startTestServer(handle)
  const rig = await startGatewayRig([server.port], options)
  return {
    rig,
    server,
    of: (name, more = '') =>
      metric(
        rig,
        `${name}{${more.startsWith('outcome') ? `${more},` : ''}pool="api",server="127.0.0.1:${server.port}"${more.startsWith('state') ? `,${more}` : ''}}`,
      ),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await server.kill()
    },
  }
}

test('requests by how they ended, connections opened and used again, and how long servers take', async () => {
  await using all = await scene((received, response) => {
    if (received.url === '/broken') return void response.destroy()
    response.writeHead(received.url === '/bad' ? 500 : 200).end('done')
  })
  const { rig, of } = all
  for (const path of ['/', '/', '/bad']) await ask(`${rig.url}${path}`)
  assert.equal(await of('spillway_server_requests_total', 'outcome="2xx"'), 2)
  assert.equal(await of('spillway_server_requests_total', 'outcome="5xx"'), 1)
  assert.equal(await of('spillway_server_connections_opened_total'), 1)
  assert.equal(await of('spillway_server_connections_reused_total'), 2)
  assert.equal(await of('spillway_server_connections'), 1)
  assert.equal(await of('spillway_server_idle_connections'), 1)
  assert.equal(await of('spillway_server_first_byte_seconds_count'), 3)
  assert.equal(await of('spillway_server_connect_seconds_count'), 1)
  assert.ok(((await of('spillway_server_first_byte_seconds_sum')) ?? 0) > 0)
  assert.equal((await ask(`${rig.url}/broken`, { method: 'POST', body: 'x' })).status, 502)
  assert.equal(await of('spillway_server_requests_total', 'outcome="connection_reset"'), 1)
  assert.equal(await metric(rig, 'spillway_request_errors_total{error="connection_reset",route="/*"}'), 1)
  assert.equal(await of('spillway_server_connections'), 0)
  assert.ok(((await of('spillway_checks_total', 'outcome="passed"')) ?? 0) > 0)
  assert.equal(await of('spillway_server_state', 'state="up"'), 1)
  assert.equal(await of('spillway_server_weight'), 1)
  assert.equal(await of('spillway_server_slots'), 64)
})

test('how long requests waited for a slot, and what clients sent and got', async () => {
  const held: (() => void)[] = []
  await using all = await scene((_, response) => void held.push(() => response.end('done')), { pool: { maxInFlight: 1 } })
  const { rig } = all
  const first = ask(rig.url, { method: 'POST', body: 'four' })
  await until('it has the slot', () => held.length === 1)
  const second = ask(rig.url)
  await rig.untilWaiting(1)
  held[0]?.()
  await until('the second has it', () => held.length === 2)
  held[1]?.()
  await Promise.all([first, second])
  assert.equal(await metric(rig, 'spillway_pool_wait_seconds_count{pool="api"}'), 1)
  assert.equal(await metric(rig, 'spillway_waits_total{outcome="served",pool="api"}'), 1)
  assert.equal(await metric(rig, 'spillway_request_bytes_total{mode="direct",route="/*"}'), 4)
  assert.ok(((await metric(rig, 'spillway_response_bytes_total{mode="direct",route="/*"}')) ?? 0) > 100)
})

test('a request whose client left was abandoned; attempts of jobs count as well', async () => {
  const route = testRoute({ name: '/queue', mode: 'queue', match: { path: '/queue', headers: [], query: [] } })
  await using all = await scene((received, response) => (received.url === '/queue' ? void response.end('done') : undefined), {
    routes: [route, testRoute({ name: '/*', mode: 'direct' })],
  })
  const { rig, server, of } = all
  const abort = new AbortController()
  const asked = ask(rig.url, { signal: abort.signal }).catch(() => undefined)
  await until('it is there', () => server.received.length === 1)
  abort.abort()
  await asked
  await until('it was abandoned', async () => (await of('spillway_server_requests_total', 'outcome="abandoned"')) === 1)
  await ask(`${rig.url}/queue`, { method: 'POST', body: 'x' })
  await until('the attempt counts', async () => (await of('spillway_server_requests_total', 'outcome="2xx"')) === 1)
})
