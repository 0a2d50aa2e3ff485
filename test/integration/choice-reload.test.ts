/** Backups, failover, splits and sticky sessions as a file has them, while it changes, and while an operator drains. */
import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ConfigRig, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

type Key = NonNullable<ConfigFile['sticky']>['keys'][number]

const [K1, K2] = [1, 2].map((n) => ({ id: `k${n}`, secret: Buffer.alloc(32, n).toString('base64') })) as [Key, Key]
const HEALTH = { health: { interval: '50ms', fall: 1, rise: 1 }, slowStart: '0s', balance: 'round-robin' } as const

interface Scene {
  readonly rig: ConfigRig
  readonly servers: readonly TestServer[]
  readonly urls: readonly string[]
}

/** Servers that answer with their number. */
async function scene(t: TestContext, file: (urls: readonly string[]) => ConfigFile): Promise<Scene> {
  const servers = await Promise.all([0, 1, 2].map((n) => startTestServer((_, response) => void response.end(String(n)))))
  t.after(() => Promise.all(servers.map((server) => server.kill())))
  const urls = servers.map(({ port }) => `http://127.0.0.1:${port}`)
  const rig = await startConfigRig(file(urls))
  t.after(() => rig[Symbol.asyncDispose]())
  await untilChecked(rig)
  return { rig, servers, urls }
}

async function untilChecked(rig: ConfigRig): Promise<void> {
  await until('every server is up', async () => {
    const { document } = await rig.admin('GET', 'v1/pools')
    return !JSON.stringify(document).includes('"unknown"')
  })
}

async function reloaded(rig: ConfigRig, file: ConfigFile): Promise<void> {
  const outcome = await rig.reload(file)
  assert.deepEqual(outcome.kind === 'applied' && outcome.needsRestart, [])
}

async function answers(rig: ConfigRig, count: number, headers: Record<string, string> = {}): Promise<string[]> {
  const texts: string[] = []
  for (let n = 0; n < count; n++) texts.push((await ask(rig.url, { headers })).text)
  return texts
}

test('a server becomes a backup, and a primary again, by a reload', async (t) => {
  const file = (backup: boolean) => (urls: readonly string[]) => ({
    pools: { a: { servers: [{ url: urls[0] as string }, { url: urls[1] as string, backup }], ...HEALTH } },
    routes: [{ match: '/*' }],
  })
  const { rig, urls } = await scene(t, file(false))
  assert.deepEqual(new Set(await answers(rig, 6)), new Set(['0', '1']))
  await reloaded(rig, file(true)(urls))
  assert.deepEqual(new Set(await answers(rig, 6)), new Set(['0']))
  await rig.reload(file(false)(urls))
  assert.deepEqual(new Set(await answers(rig, 6)), new Set(['0', '1']))
})

test('a pool gets another one that stands in for it by a reload, and loses it', async (t) => {
  const file = (failover: boolean) => (urls: readonly string[]) => ({
    pools: {
      a: { servers: [urls[0] as string], ...HEALTH, wait: '10ms', ...(failover && { failover: 'b' }) },
      b: { servers: [urls[1] as string], ...HEALTH },
    },
    routes: [{ match: '/*', pool: 'a' }],
  })
  const { rig, servers, urls } = await scene(t, file(false))
  await servers[0]?.kill()
  await until('it is down', async () => (await ask(rig.url)).status === 503)
  await reloaded(rig, file(true)(urls))
  assert.deepEqual(await answers(rig, 2), ['1', '1'])
  await rig.reload(file(false)(urls))
  assert.equal((await ask(rig.url)).status, 503)
  const told = rig.events.filter(({ type }) => type.startsWith('failover-'))
  assert.deepEqual(
    told.map(({ type }) => type),
    ['failover-began', 'failover-ended'],
  )
})

test('weights of a split hold from a reload on, and clients move only to the side that grew', async (t) => {
  const file = (canary: number) => (urls: readonly string[]) => ({
    pools: { stable: { servers: [urls[0] as string], ...HEALTH }, canary: { servers: [urls[1] as string], ...HEALTH } },
    routes: [
      {
        match: '/*',
        pool: [
          { pool: 'stable', weight: 100 - canary },
          { pool: 'canary', weight: canary },
        ],
        splitBy: 'header:x-user',
      },
    ],
  })
  const { rig, urls } = await scene(t, file(10))
  const sides = async (): Promise<string[]> =>
    (await Promise.all(Array.from({ length: 60 }, (_, n) => answers(rig, 1, { 'X-User': `u${n}` })))).flat()
  const before = await sides()
  await reloaded(rig, file(60)(urls))
  const after = await sides()
  const moved = after.filter((side, n) => side !== before[n])
  assert.ok(moved.length > 10 && moved.every((side) => side === '1'), moved.join())
  await rig.reload(file(10)(urls))
  assert.deepEqual(await sides(), before)
})

const sticky =
  (...keys: readonly Key[]) =>
  (urls: readonly string[]): ConfigFile => ({
    sticky: { keys: [...keys] },
    pools: { a: { servers: [...urls], ...HEALTH, sticky: { cookie: 'srv', wait: '0s' } } },
    routes: [{ match: '/*' }],
  })

async function newSession(rig: ConfigRig): Promise<{ server: string; cookie: string }> {
  const { text, headers } = await ask(rig.url)
  return { server: text, cookie: (headers['set-cookie']?.[0] ?? '').split(';')[0] as string }
}

test('keys are changed by reloads, and nobody loses a session', async (t) => {
  const { rig, urls } = await scene(t, sticky(K1))
  const { server, cookie } = await newSession(rig)
  await reloaded(rig, sticky(K2, K1)(urls))
  const anew = await ask(rig.url, { headers: { Cookie: cookie } })
  const renewed = (anew.headers['set-cookie']?.[0] ?? '').split(';')[0] as string
  assert.ok(anew.text === server && renewed !== '' && renewed !== cookie)
  await rig.reload(sticky(K2)(urls))
  assert.deepEqual(new Set(await answers(rig, 6, { Cookie: renewed })), new Set([server]))
  // The old one means nothing any more.
  assert.notEqual((await ask(rig.url, { headers: { Cookie: cookie } })).headers['set-cookie'], undefined)
})

test('a drained server keeps its sessions and gets no new ones; one that is taken out loses them', async (t) => {
  const { rig, servers, urls } = await scene(t, sticky(K1))
  const { server, cookie } = await newSession(rig)
  const drained = servers[Number(server)] as TestServer
  const path = `${rig.adminUrl}/api/v1/pools/a/servers/127.0.0.1:${drained.port}`
  const headers = { 'content-type': 'application/json' }
  assert.equal((await ask(path, { method: 'PATCH', headers, body: JSON.stringify({ state: 'drain' }) })).status, 200)
  assert.deepEqual(new Set(await answers(rig, 6, { Cookie: cookie })), new Set([server]))
  assert.equal(new Set(await answers(rig, 9)).has(server), false)
  await drained.kill()
  await until('it is known to be gone', async () => (await answers(rig, 1, { Cookie: cookie }))[0] !== server)
  await drained.revive()
  await until('it is back', async () => (await answers(rig, 1, { Cookie: cookie }))[0] === server)
  assert.equal((await ask(path, { method: 'PATCH', headers, body: JSON.stringify({ state: 'maint' }) })).status, 200)
  assert.notEqual((await answers(rig, 1, { Cookie: cookie }))[0], server)
  await rig.reload(sticky(K1)(urls.filter((_, n) => n !== Number(server))))
  const { text, headers: said } = await ask(rig.url, { headers: { Cookie: cookie } })
  assert.ok(text !== server && said['set-cookie'] !== undefined)
})

test('a pool whose servers are all drained keeps its sessions, and another one gets everybody else', async (t) => {
  const { rig, servers } = await scene(t, (urls) => ({
    sticky: { keys: [K1] },
    pools: {
      a: { servers: [urls[0] as string], ...HEALTH, sticky: { cookie: 'srv' }, failover: 'b' },
      b: { servers: [urls[1] as string], ...HEALTH },
    },
    routes: [{ match: '/*', pool: 'a' }],
  }))
  const { server, cookie } = await newSession(rig)
  assert.equal(server, '0')
  const path = `${rig.adminUrl}/api/v1/pools/a/servers/127.0.0.1:${servers[0]?.port}`
  await ask(path, { method: 'PATCH', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ state: 'drain' }) })
  assert.deepEqual(await answers(rig, 2, { Cookie: cookie }), ['0', '0'])
  assert.deepEqual(await answers(rig, 2), ['1', '1'])
})
