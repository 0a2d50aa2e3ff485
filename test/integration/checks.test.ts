/** How servers are checked: what is asked, where, how often, and by how many pools at once. */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { loadText } from '../../src/config/load.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ConfigRig, type Document, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/until.ts'

interface Checked {
  readonly port: number
  readonly asked: string[]
  status: number
  body: string
}

async function startChecked(t: TestContext): Promise<Checked> {
  const checked = { port: 0, asked: [] as string[], status: 200, body: 'ready' }
  const server = createServer((request, response) => {
    checked.asked.push(`${request.method} ${request.url} ${String(request.headers['x-check'] ?? '')}`)
    response.writeHead(checked.status).end(checked.body)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  checked.port = (server.address() as AddressInfo).port
  return checked
}

async function start(t: TestContext, pools: NonNullable<ConfigFile['pools']>): Promise<ConfigRig> {
  const rig = await startConfigRig({ pools, routes: Object.keys(pools).map((pool) => ({ match: `/${pool}`, pool })) })
  t.after(() => rig[Symbol.asyncDispose]())
  return rig
}

async function serverOf(rig: ConfigRig, pool: string): Promise<Document> {
  return (await rig.admin('GET', `v1/pools/${pool}`)).document.servers[0]
}

const untilState = (rig: ConfigRig, pool: string, state: string): Promise<void> =>
  until(`${pool} is ${state}`, async () => (await serverOf(rig, pool)).state === state)

test('a check has its own port, method, headers, and expects a status and a text', async (t) => {
  const [server, checked] = [await startChecked(t), await startChecked(t)]
  const rig = await start(t, {
    api: {
      servers: [`http://127.0.0.1:${server.port}`],
      health: {
        path: '/up',
        port: checked.port,
        headers: { 'X-Check': 'yes' },
        status: [200],
        body: 'ready',
        interval: '50ms',
        fall: 1,
        rise: 1,
      },
    },
  })
  await untilState(rig, 'api', 'up')
  assert.deepEqual([new Set(checked.asked), server.asked], [new Set(['GET /up yes']), []])
  checked.status = 204
  await untilState(rig, 'api', 'down')
  assert.match((await serverOf(rig, 'api')).because, /the check answered 204/)
  checked.status = 200
  await untilState(rig, 'api', 'up')
  checked.body = 'not yet'
  await until('its text is missed', async () => /has not the text/.test((await serverOf(rig, 'api')).because))
  assert.equal((await serverOf(rig, 'api')).health.check, `GET /up at port ${checked.port}`)
})

test('two pools that ask the same server the same share one check, and each judges for itself', async (t) => {
  const server = await startChecked(t)
  const servers = [`http://127.0.0.1:${server.port}`]
  const health = { path: '/up', interval: '1h', fastInterval: '1h' } as const
  const rig = await start(t, {
    a: { servers, health: { ...health, fall: 1 } },
    b: { servers, health: { ...health, fall: 5 } },
    c: { servers, health: { ...health, path: '/other' } },
  })
  for (const pool of ['a', 'b', 'c']) await untilState(rig, pool, 'up')
  assert.deepEqual(server.asked.toSorted(), ['GET /other ', 'GET /up '])
  server.status = 500
  const change = await rig.reload({
    pools: {
      a: { servers, health: { ...health, fall: 1, interval: '50ms', fastInterval: '50ms' } },
      b: { servers, health: { ...health, fall: 5 } },
    },
    routes: [
      { match: '/a', pool: 'a' },
      { match: '/b', pool: 'b' },
    ],
  })
  assert.equal(change.kind, 'applied')
  await untilState(rig, 'a', 'down')
  await untilState(rig, 'b', 'down')
  const [a, b] = [await serverOf(rig, 'a'), await serverOf(rig, 'b')]
  assert.ok(Date.parse(b.since) >= Date.parse(a.since), 'who bears more failures is down later')
})

test('a server that counts as up at first serves before its first check has ended', async (t) => {
  const server = createServer((request, response) => {
    // The check is never answered.
    if (request.url !== '/up') response.end('served')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const servers = [`http://127.0.0.1:${(server.address() as AddressInfo).port}`]
  const health = { path: '/up', timeout: '1h', initial: 'up' } as const
  const rig = await start(t, { api: { servers, health } })
  assert.equal((await ask(`${rig.url}/api`)).text, 'served')
  const { state, because } = await serverOf(rig, 'api')
  assert.deepEqual([state, because], ['up', 'it counts as up until its first check'])
})

test('what contradicts itself is refused', () => {
  const problems = (health: string): readonly string[] => {
    const loaded = loadText(
      `pools: { a: { servers: [http://a:1], health: { ${health} } } }\nroutes: [{ match: / }]`,
      { file: 'x.yaml', folder: '/x' },
      {},
    )
    return loaded.ok ? [] : loaded.errors.map((line) => line.replace(/^x\.yaml\S* +pools\.a\.health\./, ''))
  }
  assert.deepEqual(problems('path: /up, method: HEAD, status: [200, "300-399", 2xx], headers: { x: y }, jitter: 50%, initial: up'), [])
  for (const [health, problem] of [
    ['body: x', 'body  is of checks by HTTP; say with path what is asked for, or leave it out'],
    ['status: [200]', 'status  is of checks by HTTP; say with path what is asked for, or leave it out'],
    ['path: /up, method: HEAD, body: x', 'body  is never there in an answer to HEAD; leave method out'],
    ['fastInterval: 3s', 'fastInterval  is longer than interval'],
    ['jitter: 51%', 'jitter  must be at most 50%'],
  ] as const)
    assert.deepEqual(problems(health), [problem])
  for (const health of [
    'path: /up, status: []',
    'path: /up, status: [99]',
    'path: /up, status: ["299-200"]',
    'path: /up, headers: { x: "a\\nb" }',
    'port: 65536',
  ])
    assert.equal(problems(health).length, 1, health)
})
