/** An operator's switch per route: on a gateway that is a process, by the command and by the admin API, over a restart. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway, writeConfig } from '../support/child-gateway.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { type Outcome, runInProcess } from '../support/run-command.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

let folder = ''
let server: TestServer
let gateway: ChildGateway
let config: ConfigFile

const mode = (...args: readonly string[]): Promise<Outcome> => runInProcess(['mode', ...args, '--admin', gateway.adminUrl])
const send = (path: string, method = 'POST'): Promise<Answer> =>
  ask(gateway.url + path, { method, ...(method === 'POST' && { body: 'x' }), headers: { 'x-account': 'a' } })

async function start(): Promise<void> {
  gateway = await startGateway(config, { folder })
  await until('the server is up', async () => (await send('/plain', 'GET')).status === 200)
}

/** Of a request that the server has answered: as a job, or at once. */
function wayOf(answer: Answer): string {
  return answer.status === 200 && answer.headers['spillway-job'] !== undefined
    ? 'queued'
    : answer.status === 200
      ? 'direct'
      : String(answer.status)
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-mode-'))
  server = await startTestServer((_, response) => void response.writeHead(200).end('done'))
  config = {
    pools: { app: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms' } } },
    cors: { origins: ['https://a.example'] },
    routes: [
      { match: 'POST /orders', mode: 'spill' },
      { match: '/orders', mode: 'spill' },
      { match: 'POST /reports', mode: 'queue' },
      { match: '/*' },
    ],
  } as ConfigFile
  await start()
})

after(async () => {
  await gateway.kill()
  await server.kill()
  rmSync(folder, { recursive: true })
})

test('without a switch every route does as it is configured', async () => {
  const { out, code } = await mode()
  assert.deepEqual(
    [code, out.split('\n').map((line) => line.split(/ {2,}/).slice(0, 3).join(' | '))],
    [
      0,
      [
        'ROUTE | MODE | NOW',
        '"POST /orders" | spill | direct',
        '/orders | spill | direct',
        '"POST /reports" | queue | queue',
        '/* | direct | direct',
        '',
      ],
    ],
  )
  assert.equal(wayOf(await send('/orders')), 'direct')
})

test('queue: what may become a job does, although a server is free; the rest goes on', async () => {
  const switched = await mode('POST /orders', 'queue')
  assert.equal(switched.code, 0, switched.err)
  assert.match(switched.out, /"POST \/orders" +spill +queue +since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: an operator switched it/)
  assert.equal(wayOf(await send('/orders')), 'queued')
  assert.equal(wayOf(await send('/orders', 'GET')), 'direct', 'another route')
  await mode('/orders', 'queue')
  assert.equal(wayOf(await send('/orders', 'GET')), 'direct', 'a GET becomes no job')
  await until('it is told', () => gateway.output.includes('"mode-switched"'))
})

test('a switch holds over a kill, and over a reload, until it is switched back', async () => {
  await gateway.kill()
  await start()
  assert.equal(wayOf(await send('/orders')), 'queued')
  assert.equal((await mode('POST /orders', 'auto')).code, 0)
  await mode('/orders', 'auto')
  assert.equal(wayOf(await send('/orders')), 'direct')
  await gateway.kill()
  await start()
  assert.equal(wayOf(await send('/orders')), 'direct')
})

test('refuse: a 503 that says why and when to come back, for every kind of route, and nothing reaches a server', async () => {
  for (const [route, path] of [
    ['POST /orders', '/orders'],
    ['POST /reports', '/reports'],
    ['/*', '/plain'],
  ] as const) {
    assert.equal((await mode(route, 'refuse')).code, 0)
    const answer = await ask(gateway.url + path, { method: 'POST', body: 'refused', headers: { origin: 'https://a.example' } })
    assert.deepEqual([answer.status, answer.json()['code']], [503, 'switched_off'])
    const retry = Number(answer.headers['retry-after'])
    assert.ok(retry >= 22 && retry <= 38, `${retry}`)
    assert.equal(answer.headers['access-control-allow-origin'], 'https://a.example')
    assert.match(String(answer.headers['proxy-status']), /^spillway; error=/)
    assert.ok(!server.received.some(({ body }) => body.toString() === 'refused'))
    await mode(route, 'auto')
    assert.notEqual((await send(path)).status, 503)
  }
})

test('what cannot be is refused with a reason, and changes nothing', async () => {
  for (const [args, code, message] of [
    [['POST /orders', 'off'], 2, 'spillway mode: the mode is queue, refuse or auto, not off; see: spillway help mode\n'],
    [['/*', 'queue'], 1, 'spillway mode: The route /* has no queue: it is of mode direct. It can be refused, or left alone\n'],
    [['POST /nothing', 'queue'], 1, 'spillway mode: No route is named POST /nothing; GET /api/routes lists them\n'],
    [['POST /nothing'], 1, 'spillway mode: no route is named "POST /nothing"; there are: "POST /orders", /orders, "POST /reports", /*\n'],
  ] as const) {
    const told = await mode(...args)
    assert.deepEqual([told.code, told.err], [code, message])
  }
  const { out } = await mode('--json')
  const { routes } = JSON.parse(out) as { routes: { serves: string; mode: string }[] }
  for (const route of routes) assert.equal(route.serves, route.mode === 'queue' ? 'queue' : 'direct')
})

test('over the admin API: wrong bodies, methods and addresses', async () => {
  const api = (method: string, path: string, body?: unknown): Promise<Answer> =>
    ask(`${gateway.adminUrl}/api/${path}`, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
  assert.equal((await api('GET', 'routes')).status, 200)
  assert.equal((await api('POST', 'routes', {})).headers['allow'], 'GET')
  assert.equal((await api('GET', 'routes/mode')).headers['allow'], 'POST')
  assert.equal((await api('GET', 'routes/other')).status, 404)
  for (const body of [
    {},
    { route: '/*' },
    { route: '/*', mode: 'off' },
    { route: 1, mode: 'auto' },
    { route: '/*', mode: 'auto', more: 1 },
    [],
  ]) {
    assert.equal((await api('POST', 'routes/mode', body)).status, 400, JSON.stringify(body))
  }
  assert.equal((await api('POST', 'routes/mode', { route: '/nothing', mode: 'auto' })).json()['code'], 'no_such_route')
})

test('a route that spills by itself says since when and why', async () => {
  await server.kill()
  await until('nobody is up', async () =>
    (await ask(`${gateway.adminUrl}/metrics`)).text.includes(
      'spillway_server_up{pool="app",server='.concat(`"127.0.0.1:${server.port}"} 0`),
    ),
  )
  const answer = await ask(`${gateway.url}/orders`, { method: 'POST', body: 'x', headers: { prefer: 'wait=0' } })
  assert.equal(answer.status, 202)
  const { out } = await mode('POST /orders')
  assert.match(out, /"POST \/orders" +spill +queue +since [^:]+:\d\d:\d\dZ: no server is up/)
  const { text } = await ask(`${gateway.adminUrl}/metrics`)
  assert.match(text, /^spillway_route_mode\{mode="queue",route="POST \/orders",trigger="no_server"\} 1$/m)
  assert.match(text, /^spillway_route_mode\{mode="queue",route="POST \/reports",trigger="config"\} 1$/m)
  assert.match(text, /^spillway_route_mode_since_seconds\{route="POST \/orders"\} 1\d{9}/m)
  assert.match(text, /^spillway_route_flips_total\{mode="queue",route="POST \/orders"\} 1$/m)
  const { routes } = (await ask(`${gateway.adminUrl}/api/routes`)).json() as { routes: Record<string, string>[] }
  assert.deepEqual(
    routes.map(({ serves, trigger }) => [serves, trigger]),
    [
      ['queue', 'no_server'],
      ['direct', 'config'],
      ['queue', 'config'],
      ['direct', 'config'],
    ],
  )
})

test('over a reload a route does as it is configured then: with other servers, without a queue, and with one again', async (t) => {
  const own = mkdtempSync(join(tmpdir(), 'spillway-mode-reload-'))
  const [dead, alive] = [await startTestServer(), await startTestServer()]
  await dead.kill()
  const pools = Object.fromEntries(Object.entries({ dead, alive }).map(([name, { port }]) => [name, [`http://127.0.0.1:${port}`]]))
  const match = 'POST /orders'
  const spills = (pool: string) => ({ pools, routes: [{ match, mode: 'spill', pool, spill: { leave: '300ms' } }] }) as ConfigFile
  const it = await startGateway(spills('dead'), { folder: own })
  t.after(async () => {
    await Promise.all([it.kill(), alive.kill()])
    rmSync(own, { recursive: true })
  })
  const now = async (): Promise<string> => {
    const { routes } = (await ask(`${it.adminUrl}/api/routes`)).json() as { routes: Record<string, string>[] }
    return `${routes[0]?.['serves']}, ${routes[0]?.['trigger']}, ${routes[0]?.['switch']}`
  }
  const reload = async (config: ConfigFile): Promise<void> => {
    writeConfig(config, { folder: own })
    assert.equal((await ask(`${it.adminUrl}/api/reload`, { method: 'POST' })).status, 200)
  }
  const order = (): Promise<Answer> => ask(`${it.url}/orders`, { method: 'POST', body: 'x' })
  assert.equal((await ask(`${it.url}/orders`, { method: 'POST', body: 'x', headers: { prefer: 'wait=0' } })).status, 202)
  assert.equal(await now(), 'queue, no_server, auto')
  await reload(spills('alive'))
  await until('its new server counts', async () => (await now()) === 'direct, config, auto')
  assert.equal(wayOf(await order()), 'direct')

  const queue = JSON.stringify({ route: match, mode: 'queue' })
  const headers = { 'content-type': 'application/json' }
  assert.equal((await ask(`${it.adminUrl}/api/routes/mode`, { method: 'POST', body: queue, headers })).status, 200)
  assert.deepEqual([await now(), wayOf(await order())], ['queue, operator, queue', 'queued'])
  await reload({ pools, routes: [{ match, pool: 'alive' }] } as ConfigFile)
  assert.deepEqual([await now(), wayOf(await order())], ['direct, config, queue', 'direct'], 'it has nowhere to queue')
  await reload(spills('alive'))
  assert.deepEqual([await now(), wayOf(await order())], ['queue, operator, queue', 'queued'], 'the switch is kept')
})

test('a route that spilled and is configured to go direct does so at once, and it is told', async (t) => {
  const own = mkdtempSync(join(tmpdir(), 'spillway-mode-reload-'))
  const dead = await startTestServer()
  await dead.kill()
  const pools = { dead: [`http://127.0.0.1:${dead.port}`] }
  const it = await startGateway({ pools, routes: [{ match: 'POST /orders', mode: 'spill' }] } as ConfigFile, { folder: own })
  t.after(async () => {
    await it.kill()
    rmSync(own, { recursive: true })
  })
  assert.equal((await ask(`${it.url}/orders`, { method: 'POST', body: 'x', headers: { prefer: 'wait=0' } })).status, 202)
  writeConfig({ pools, routes: [{ match: 'POST /orders' }] } as ConfigFile, { folder: own })
  assert.equal((await ask(`${it.adminUrl}/api/reload`, { method: 'POST' })).status, 200)
  assert.match((await ask(`${it.adminUrl}/api/routes`)).text, /"serves":"direct"/)
  await until('it is told', () => it.of('mode-flipped').length === 2)
  assert.deepEqual(
    it.of('mode-flipped').map(({ to, reason }) => [to, reason]),
    [
      ['queue', 'no server is up'],
      ['direct', 'it is configured otherwise'],
    ],
  )
})
