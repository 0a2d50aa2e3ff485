/** Clients that come back to the server where they were: by a cookie of the gateway, or by the application's. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AppCookie, OwnCookie, PoolConfig, RouteConfig, SigningKey, StickyConfig } from '../../src/config/config.ts'
import { tokensOf } from '../../src/gateway/sticky.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { type PoolsRig, type PoolsRigOptions, startPoolsRig } from '../support/pools-rig.ts'
import { OK, startRawServer } from '../support/raw-server.ts'
import { RawClient, rawAsk } from '../support/raw-client.ts'
import { testPool, testQueue, testRoute } from '../support/test-config.ts'
import { startTestServer } from '../support/test-server.ts'
import { startGatewayRig } from '../support/gateway-rig.ts'
import { until } from '../support/until.ts'

const OWN: OwnCookie = { by: 'gateway', name: 'srv', path: '/', secure: false, sameSite: 'Lax' }
const APP: AppCookie = { by: 'application', name: 'SID', ttlMs: 60_000 }
const [K1, K2] = [1, 2].map((n) => ({ id: `k${n}`, secret: new Uint8Array(32).fill(n) })) as [SigningKey, SigningKey]

function route(change: Partial<RouteConfig> = {}, sticky: Partial<StickyConfig> = {}): RouteConfig {
  return testRoute({ name: '/*', mode: 'direct', pool: 'a', sticky: { cookie: OWN, waitMs: 0, ...sticky }, ...change })
}

function rigOf(options: Partial<PoolsRigOptions> & { readonly keys?: readonly SigningKey[] } = {}): Promise<PoolsRig> {
  const { keys = [K1], config, ...rest } = options
  return startPoolsRig({ servers: { a: 3 }, routes: [route()], ...rest, config: { sticky: { keys }, ...config } })
}

/** A browser that has one cookie, and sends it along. */
class Browser {
  readonly #url: string
  readonly name: string
  value: string | undefined
  /** How often it was told to keep one. */
  set = 0
  last = ''

  constructor(url: string, name = 'srv') {
    this.#url = url
    this.name = name
  }

  async ask(headers: Record<string, string> = {}): Promise<string> {
    const cookie = this.value === undefined ? 'other=1' : `other=1; ${this.name}=${this.value}`
    const answer = await ask(this.#url, { headers: { Cookie: cookie, ...headers } })
    this.take(answer)
    return answer.status === 200 ? answer.text : String(answer.status)
  }

  take({ headers }: Answer): void {
    for (const line of headers['set-cookie'] ?? []) {
      if (!line.startsWith(`${this.name}=`)) continue
      this.set++
      this.last = line
      this.value = line.slice(this.name.length + 1).split(';')[0]
    }
  }

  async times(count: number): Promise<string[]> {
    const names: string[] = []
    for (let n = 0; n < count; n++) names.push(await this.ask())
    return names
  }
}

function serverOf(all: PoolsRig, name: string): { pool: string; name: string } {
  return { pool: name.slice(0, -1), name: `127.0.0.1:${all.server(name).port}` }
}

test('a client gets a cookie once, comes back to its server, and the server never sees it', async () => {
  await using all = await rigOf()
  const browsers = Array.from({ length: 6 }, () => new Browser(all.url))
  for (const browser of browsers) {
    const names = await browser.times(4)
    assert.equal(new Set(names).size, 1)
    assert.equal(browser.set, 1)
    assert.match(browser.last, /^srv=[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/)
  }
  assert.equal(new Set(browsers.map(({ value }) => value)).size, 3)
  for (const name of ['a0', 'a1', 'a2']) {
    const { received } = all.server(name)
    assert.ok(received.length === 8 && received.every(({ headers }) => headers.cookie === 'other=1'))
    // What names a server says nothing of where it is.
    const [token = ''] = tokensOf(serverOf(all, name), [K1])
    assert.equal(
      Buffer.from(token, 'base64url')
        .toString('latin1')
        .includes(String(all.server(name).port)),
      false,
    )
  }
  const metrics = (await ask(`http://127.0.0.1:${all.rig.gateway.admin.port}/metrics`)).text
  assert.deepEqual(
    metrics.split('\n').filter((line) => line.startsWith('spillway_sticky_total')),
    ['spillway_sticky_total{outcome="new",pool="a"} 6', 'spillway_sticky_total{outcome="kept",pool="a"} 18'],
  )
})

test('a cookie is understood by every gateway with the same key', async () => {
  await using all = await rigOf()
  const browser = new Browser(all.url)
  const name = await browser.ask()
  assert.equal(browser.value, tokensOf(serverOf(all, name), [K1])[0])
})

test('tampered, foreign and empty cookies are ignored and replaced', async () => {
  await using all = await rigOf({ servers: { a: 1 } })
  const good = new Browser(all.url)
  await good.ask()
  const value = good.value as string
  const foreign = tokensOf(serverOf(all, 'a0'), [K2])[0] as string
  const strange = [
    `${value.slice(0, -1)}${value.endsWith('A') ? 'B' : 'A'}`,
    foreign,
    '',
    `"${value}"`,
    `${value}x`,
    'x'.repeat(3000),
    '127.0.0.1:1',
  ]
  for (const wrong of strange) {
    const browser = new Browser(all.url)
    browser.value = wrong
    assert.equal(await browser.ask(), 'a0')
    assert.deepEqual([browser.value, browser.set], [value, 1], wrong.slice(0, 40))
  }
  for (const { headers } of all.server('a0').received) assert.equal(headers.cookie, 'other=1')
})

test('a server that is down, or fails the request, is replaced, and the cookie with it; it is not fetched back when it returns', async () => {
  await using all = await rigOf()
  const browser = new Browser(all.url)
  const first = await browser.ask()
  await all.kill(first)
  const second = await browser.ask()
  assert.notEqual(second, first)
  assert.deepEqual([...new Set(await browser.times(3)), browser.set], [second, 2])
  await all.revive(first)
  assert.deepEqual([...new Set(await browser.times(3)), browser.set], [second, 2])
  all.server(second).handle = (_, response) => void response.destroy()
  const third = await browser.ask()
  assert.ok(third !== second && third.startsWith('a'), third)
  assert.equal(browser.set, 3)
})

test('keys are changed without losing anybody: the old one is understood, and its cookies made anew', async () => {
  await using all = await rigOf({ keys: [K2, K1] })
  // Not in the order of turns.
  for (const name of ['a2', 'a1', 'a0']) {
    const browser = new Browser(all.url)
    ;[browser.value] = tokensOf(serverOf(all, name), [K1])
    assert.deepEqual(await browser.times(2), [name, name])
    assert.deepEqual([browser.value, browser.set], [tokensOf(serverOf(all, name), [K2])[0], 1])
  }
})

async function fullServer(all: PoolsRig, browser: Browser): Promise<{ own: string; free: () => void }> {
  const own = await browser.ask()
  const held: (() => void)[] = []
  all.server(own).handle = (_, response) => void held.push(() => response.end(own))
  const busy = ask(all.url, { headers: { Cookie: `srv=${browser.value}` } })
  await until('it is full', () => held.length === 1)
  return {
    own,
    free: () => {
      all.server(own).handle = (_, response) => void response.end(own)
      held.pop()?.()
      void busy
    },
  }
}

test('a server that is full is waited for, as long as `wait` says', async () => {
  await using all = await rigOf({ routes: [route({}, { waitMs: 10_000 })], pools: { a: { maxInFlight: 1, waitMs: 10_000 } } })
  const browser = new Browser(all.url)
  const { own, free } = await fullServer(all, browser)
  const waiting = browser.ask()
  await all.rig.untilWaiting(1)
  free()
  assert.equal(await waiting, own)
  assert.equal(browser.set, 1)
})

test('where the line is full, who would wait for its own server goes to another one that is free', async () => {
  await using all = await rigOf({
    routes: [route({}, { waitMs: 10_000 })],
    pools: { a: { maxInFlight: 1, waitMs: 10_000, maxWaiting: 1 } },
  })
  const browser = new Browser(all.url)
  const { own, free } = await fullServer(all, browser)
  const waiting = browser.ask()
  await all.rig.untilWaiting(1)
  const late = new Browser(all.url)
  late.value = browser.value
  const other = await late.ask()
  assert.ok(other !== own && other.startsWith('a'), other)
  free()
  assert.equal(await waiting, own)
})

test('who waits for its own server and has to make room goes to another one that is free', async () => {
  await using all = await rigOf({
    routes: [
      route({ name: 'urgent', match: { path: '/urgent', headers: [], query: [] }, priority: 9 }, { waitMs: 10_000 }),
      route({}, { waitMs: 10_000 }),
    ],
    pools: { a: { maxInFlight: 1, waitMs: 10_000, maxWaiting: 1 } },
  })
  const browser = new Browser(all.url)
  const { own, free } = await fullServer(all, browser)
  const waiting = browser.ask()
  await all.rig.untilWaiting(1)
  const before = browser.value
  const more = ask(`${all.url}/urgent`, { headers: { Cookie: `srv=${before}` } })
  const other = await waiting
  assert.ok(other !== own && other.startsWith('a'), other)
  await all.rig.untilWaiting(1)
  free()
  assert.equal((await more).text, own)
})

test('and then left for another one, with its cookie', async () => {
  for (const waitMs of [0, 60]) {
    await using all = await rigOf({ routes: [route({}, { waitMs })], pools: { a: { maxInFlight: 1 } } })
    const browser = new Browser(all.url)
    const { own, free } = await fullServer(all, browser)
    const other = await browser.ask()
    assert.ok(other !== own && other.startsWith('a'), other)
    assert.equal(browser.set, 2)
    free()
    assert.equal(await browser.ask(), other)
  }
})

test('who waits for a server that goes down does not wait longer', async () => {
  await using all = await rigOf({ routes: [route({}, { waitMs: 10_000 })], pools: { a: { maxInFlight: 1, waitMs: 10_000 } } })
  const browser = new Browser(all.url)
  const { own } = await fullServer(all, browser)
  const waiting = browser.ask()
  await all.rig.untilWaiting(1)
  await all.kill(own)
  assert.notEqual(await waiting, own)
})

test('who waits for a server that is drained does not wait longer when it is taken out for good, or fails', async () => {
  const ends: ((all: PoolsRig, own: string, set: (state: string) => Promise<void>) => Promise<void>)[] = [
    (_all, _own, set) => set('maint'),
    async (all, own) => void (all.server(own).healthStatus = 500),
  ]
  const health = { path: '/healthz', intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 }
  for (const end of ends) {
    await using all = await rigOf({ routes: [route({}, { waitMs: 60_000 })], pools: { a: { maxInFlight: 1, waitMs: 60_000, health } } })
    const browser = new Browser(all.url)
    const { own, free } = await fullServer(all, browser)
    const address = `http://127.0.0.1:${all.rig.gateway.admin.port}/api/v1/pools/a/servers/127.0.0.1:${all.server(own).port}`
    const set = async (state: string): Promise<void> => {
      const { status } = await ask(address, {
        method: 'PATCH',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ state }),
      })
      assert.equal(status, 200)
    }
    await set('drain')
    const waiting = browser.ask()
    await all.rig.untilWaiting(1)
    await end(all, own, set)
    await all.rig.untilWaiting(0)
    assert.notEqual(await waiting, own)
    free()
    await all.rig.untilIdle()
  }
})

test('on a route over several pools the cookie keeps the side, whatever the weights become', async () => {
  const split = (stable: number, canary: number): RouteConfig =>
    route({
      pool: 'stable',
      split: {
        shares: [
          { pool: 'stable', weight: stable },
          { pool: 'canary', weight: canary },
        ],
      },
    })
  await using all = await rigOf({ servers: { stable: 2, canary: 2 }, routes: [split(1, 1)] })
  const browsers = Array.from({ length: 20 }, () => new Browser(all.url))
  const names = await Promise.all(browsers.map((browser) => browser.ask()))
  assert.equal(new Set(names.map((name) => name.slice(0, -1))).size, 2)
  assert.deepEqual(await Promise.all(browsers.map((browser) => browser.ask())), names)
  // Nobody new on the canary: who is there stays.
  await using later = await startPoolsRig({ servers: { stable: 1, canary: 2 }, routes: [split(1, 0)], config: { sticky: { keys: [K1] } } })
  const stays = new Browser(later.url)
  ;[stays.value] = tokensOf(serverOf(later, 'canary1'), [K1])
  assert.deepEqual([...new Set(await stays.times(4)), stays.set], ['canary1', 0])
  const fresh = await Promise.all(Array.from({ length: 10 }, () => new Browser(later.url).ask()))
  assert.ok(fresh.every((name) => name === 'stable0'))
})

test('a session goes to the pool that stands in, stays on one server there, and comes back when its own pool does', async () => {
  await using all = await rigOf({ servers: { a: 1, b: 3 }, pools: { a: { failover: { pool: 'b', when: 'down' } } } })
  const browser = new Browser(all.url)
  assert.equal(await browser.ask(), 'a0')
  await all.kill('a')
  const names = await browser.times(4)
  assert.ok(names[0]?.startsWith('b') && new Set(names).size === 1, names.join())
  await all.revive('a')
  assert.deepEqual([await browser.ask(), browser.set], ['a0', 3])
})

test('a session on a backup goes back to the primaries with everybody else', async () => {
  const servers = await Promise.all(['primary', 'backup'].map((name) => startTestServer((_, response) => void response.end(name))))
  const [primary, backup] = servers as [(typeof servers)[0], (typeof servers)[0]]
  const ports = servers.map(({ port }) => port)
  const pool: PoolConfig = {
    ...testPool('a', ports, { health: { intervalMs: 50, timeoutMs: 500, fall: 1, rise: 1 } }),
    servers: testPool('a', ports).servers.map((server, n) => (n === 1 ? { ...server, backup: true } : server)),
  }
  await using rig = await startGatewayRig([], { routes: [route()], config: { pools: [pool], queues: [], sticky: { keys: [K1] } } })
  const browser = new Browser(rig.url)
  ;[browser.value] = tokensOf({ pool: 'a', name: `127.0.0.1:${backup.port}` }, [K1])
  assert.equal(await browser.ask(), 'primary')
  await primary.kill()
  assert.equal(await browser.ask(), 'backup')
  await primary.revive()
  await until('it is up', async () => (await rig.pool()).servers[0]?.state === 'up')
  assert.equal(await browser.ask(), 'primary')
  await Promise.all(servers.map((server) => server.kill()))
})

test('upgrades obey the cookie, and get one with their 101', async (t) => {
  const switching = (name: string): ReturnType<typeof startRawServer> =>
    startRawServer((connection, head) => {
      const upgrade = /^upgrade:/im.test(head)
      connection.write(upgrade ? `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\nX-Name: ${name}\r\n\r\n` : OK)
    })
  const servers = await Promise.all(['one', 'two'].map(switching))
  t.after(() => Promise.all(servers.map((server) => server[Symbol.asyncDispose]())))
  const pool = testPool(
    'a',
    servers.map(({ port }) => port),
  )
  await using rig = await startGatewayRig([], { routes: [route()], config: { pools: [pool], queues: [], sticky: { keys: [K1] } } })
  const upgrade = async (cookie: string): Promise<string> => {
    const client = await RawClient.connect(rig.port)
    client.write(`GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n${cookie}\r\n`)
    await client.untilText('\r\n\r\n')
    client.destroy()
    return client.text
  }
  const first = await upgrade('')
  const value = /^Set-Cookie: srv=([\w-]{22});/m.exec(first)?.[1] as string
  const name = /^X-Name: (\w+)/m.exec(first)?.[1] as string
  for (let n = 0; n < 4; n++) {
    const again = await upgrade(`Cookie: srv=${value}\r\n`)
    assert.match(again, new RegExp(`^X-Name: ${name}$`, 'm'))
    assert.doesNotMatch(again, /Set-Cookie/)
  }
  for (const { heads } of servers) assert.ok(heads.every((head) => !/^cookie:/im.test(head)))
})

test('a server that switches to what nobody offered is no home for anybody', async (t) => {
  const server = await startRawServer((connection) => {
    connection.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n')
  })
  t.after(() => server[Symbol.asyncDispose]())
  await using rig = await startGatewayRig([], {
    routes: [route()],
    config: { pools: [testPool('a', [server.port])], queues: [], sticky: { keys: [K1] } },
  })
  const answer = await rawAsk(rig.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n')
  assert.deepEqual([answer.status, answer.header('set-cookie')], [502, undefined])
  const metrics = (await ask(`http://127.0.0.1:${rig.gateway.admin.port}/metrics`)).text
  assert.doesNotMatch(metrics, /^spillway_sticky_total/m)
})

test('a request that becomes a job is not sticky, and its server does not see the cookie either', async () => {
  const spill = route({ name: 'POST /*', mode: 'spill', queue: 'work', waitMs: 30_000 })
  await using all = await rigOf({ routes: [spill], config: { queues: [testQueue({ name: 'work', pool: 'a' })] } })
  const [value] = tokensOf(serverOf(all, 'a0'), [K1])
  const answer = await ask(all.url, { method: 'POST', body: 'x', headers: { Cookie: `srv=${value}; other=1`, Prefer: 'respond-async' } })
  assert.equal(answer.status, 202)
  assert.equal(answer.headers['set-cookie'], undefined)
  await until('it is done', () => all.received('a') === 1)
  const [job] = ['a0', 'a1', 'a2'].flatMap((name) => all.server(name).received)
  assert.equal(job?.headers.cookie, 'other=1')
})

test("by the application's cookie: whose it is is learnt from answers, and forgotten when the application ends it", async () => {
  const sticky = route({}, { cookie: APP })
  await using all = await rigOf({ routes: [sticky] })
  for (const name of ['a0', 'a1', 'a2']) {
    all.server(name).handle = ({ url, headers }, response) => {
      if (url === '/login') response.setHeader('Set-Cookie', ['theme=dark', `SID=s${Math.random()}; Path=/`])
      if (url === '/logout') response.setHeader('Set-Cookie', 'SID=; Max-Age=0')
      response.end(`${name} ${headers.cookie ?? ''}`)
    }
  }
  const login = async (): Promise<{ name: string; cookie: string }> => {
    const { text, headers } = await ask(`${all.url}/login`)
    assert.equal(headers['set-cookie']?.length, 2, 'no cookie of ours')
    return { name: text.trim(), cookie: (headers['set-cookie']?.[1] ?? '').split(';')[0] as string }
  }
  const at = async (cookie: string, path = '/'): Promise<string> => (await ask(all.url + path, { headers: { Cookie: cookie } })).text
  const sessions = [await login(), await login(), await login()]
  assert.equal(new Set(sessions.map(({ name }) => name)).size, 3)
  for (let round = 0; round < 3; round++) {
    // The application's own cookie is for the application.
    for (const { name, cookie } of sessions) assert.equal(await at(cookie), `${name} ${cookie}`)
  }
  const [one] = sessions as [(typeof sessions)[0]]
  await at(one.cookie, '/logout')
  const after = new Set<string>()
  for (let n = 0; n < 3; n++) {
    after.add((await at(one.cookie, '/logout')).split(' ')[0] as string)
  }
  assert.equal(after.size, 3, 'it is nobody’s session any more')
})

test("an application's session whose server is gone is at home where it is served next", async () => {
  await using all = await rigOf({ routes: [route({}, { cookie: APP })] })
  const at = async (): Promise<string> => (await ask(all.url, { headers: { Cookie: 'SID=x' } })).text
  const first = await at()
  assert.deepEqual([await at(), await at()], [first, first])
  await all.kill(first)
  const second = await at()
  await all.revive(first)
  assert.notEqual(second, first)
  assert.deepEqual([await at(), await at()], [second, second])
})

test('a hedge leaves who has a session alone: another server could not know it', async () => {
  await using all = await rigOf({ routes: [route({ hedge: { afterMs: 5 } })] })
  const browser = new Browser(all.url)
  const own = await browser.ask()
  for (const name of ['a0', 'a1', 'a2']) all.server(name).handle = (_, response) => void setTimeout(() => response.end(name), 60)
  const before = all.received('a')
  assert.deepEqual(await browser.times(3), [own, own, own])
  assert.equal(all.received('a'), before + 3)
  await ask(all.url)
  assert.ok(all.received('a') > before + 4, 'who has none is hedged')
})
