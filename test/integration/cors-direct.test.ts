/** A route with `cors` answers for it, whoever serves the request. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { loadText } from '../../src/config/load.ts'
import { startGateway } from '../../src/gateway.ts'
import { createTelemetry } from '../../src/telemetry/create-telemetry.ts'
import { until } from '../support/until.ts'

test('the answer of a server on a route with cors carries what the route allows, once', async () => {
  const server = createServer((_, response) => response.setHeader('Access-Control-Allow-Origin', 'https://server.example').end('hi'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const port = (server.address() as AddressInfo).port
  const loaded = loadText(
    `listeners: [ { address: 127.0.0.1:0 } ]
admin: { address: 127.0.0.1:0 }
store: { engine: memory }
cors: { origins: [ https://page.example ] }
pools: { api: [ http://127.0.0.1:${port} ] }
routes: [ { match: "/*" } ]
`,
    { file: 'test.yaml', folder: '/' },
    {},
  )
  assert.ok(loaded.ok, JSON.stringify(loaded))
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: () => undefined })
  const gateway = await startGateway(loaded.config, { telemetry })
  try {
    const url = `http://127.0.0.1:${gateway.listeners[0]?.port}/x`
    await until('the server is up', async () => (await fetch(url)).status === 200)
    const answer = await fetch(url, { headers: { origin: 'https://page.example' } })
    assert.equal(answer.headers.get('access-control-allow-origin'), 'https://page.example')
    const foreign = await fetch(url, { headers: { origin: 'https://elsewhere.example' } })
    assert.equal(foreign.headers.get('access-control-allow-origin'), null)
    server.closeAllConnections()
    server.close()
    const failed = await fetch(url, { headers: { origin: 'https://page.example' } })
    assert.equal(failed.status, 502)
    assert.equal(failed.headers.get('access-control-allow-origin'), 'https://page.example')
  } finally {
    await gateway.close()
    await telemetry.close()
    server.closeAllConnections()
    server.close()
  }
})
