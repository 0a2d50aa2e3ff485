/** Host names of servers: each of their addresses is a server of its own, and the pool follows what the resolver says. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import type { ResolvedAddress, Resolver } from '../../src/ports/network.ts'
import { type ConfigRig, type Document, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/until.ts'

const FIRST = '127.0.0.1'
const SECOND = '127.0.0.2'
const THIRD = '127.0.0.3'

/** Says what a test wants it to say. An empty list: there is no such name. */
class TestResolver implements Resolver {
  addresses: readonly string[] | Error
  asked = 0

  constructor(addresses: readonly string[] | Error) {
    this.addresses = addresses
  }

  resolve(): Promise<readonly ResolvedAddress[]> {
    this.asked++
    if (this.addresses instanceof Error) return Promise.reject(this.addresses)
    return Promise.resolve(this.addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4, ttlMs: 1 })))
  }

  async untilAskedAgain(): Promise<void> {
    const { asked } = this
    await until('it was asked once more, and has answered', () => this.asked > asked)
  }
}

interface Scene {
  readonly rig: ConfigRig
  readonly port: number
  readonly hosts: readonly string[]
  servers(): Promise<Document>
  pool(): Promise<Document>
  untilUp(...addresses: readonly string[]): Promise<void>
  close(address: string): void
}

/** Servers at one port of three addresses, which say where they were asked, in a pool that names them `web.test`. */
async function scene(t: TestContext, resolver: Resolver, change: { readonly wait?: string } = {}): Promise<Scene> {
  const listeners = new Map<string, Server>()
  const hosts: string[] = []
  let port = 0
  t.after(() => {
    for (const server of listeners.values()) server.closeAllConnections()
    for (const server of listeners.values()) server.close()
  })
  for (const address of [FIRST, SECOND, THIRD]) {
    const server = createServer((request, response) => {
      if (request.url === '/healthz') hosts.push(String(request.headers.host))
      response.end(address)
    })
    listeners.set(address, server)
    await new Promise<void>((resolve) => server.listen(port, address, resolve))
    port = (server.address() as AddressInfo).port
  }
  const health = { interval: '100ms', rise: 1, path: '/healthz' } as const
  const rig = await startConfigRig(
    {
      pools: {
        api: { servers: [{ url: `http://web.test:${port}`, weight: 2 }], health, slowStart: '0s', balance: 'round-robin', ...change },
      },
      routes: [{ match: 'POST /work', mode: 'queue' }, { match: '/*' }],
    },
    { resolver },
  )
  t.after(() => rig[Symbol.asyncDispose]())
  const pool = async (): Promise<Document> => (await rig.admin('GET', 'v1/pools/api')).document
  const servers = async (): Promise<Document> => (await pool()).servers
  return {
    rig,
    port,
    hosts,
    pool,
    servers,
    untilUp: (...addresses) =>
      until('these are up, and no others are there', async () => {
        const there = (await servers()).filter(({ state }: Document) => state !== 'leaving')
        const up = there.filter(({ state }: Document) => state === 'up').map(({ name }: Document) => name)
        return there.length === up.length && up.join() === addresses.map((address) => `${address}:${port}`).join()
      }),
    close(address) {
      listeners.get(address)?.closeAllConnections()
      listeners.get(address)?.close()
    },
  }
}

async function askedOf(it: Scene, count: number): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {}
  for (let n = 0; n < count; n++) {
    const { text } = await ask(it.rig.url)
    counts[text] = (counts[text] ?? 0) + 1
  }
  return counts
}

test('each address is a server, with a state of its own, and checked by the name', async (t) => {
  const it = await scene(t, new TestResolver([SECOND, FIRST]))
  await it.untilUp(FIRST, SECOND)
  assert.deepEqual(await askedOf(it, 10), { [FIRST]: 5, [SECOND]: 5 })
  const [first] = await it.servers()
  assert.deepEqual([first.source, first.hostName, first.weight.configured], ['dns', 'web.test', 2])
  assert.ok(it.hosts.length > 0 && it.hosts.every((host) => host === `web.test:${it.port}`), it.hosts.join())
  it.close(FIRST)
  await until('one is down', async () => (await it.servers()).some(({ state }: Document) => state === 'down'))
  assert.deepEqual(await askedOf(it, 4), { [SECOND]: 4 })
})

test('who is in the pool follows the answers: requests, jobs and all', async (t) => {
  const resolver = new TestResolver([FIRST])
  const it = await scene(t, resolver)
  await it.untilUp(FIRST)
  resolver.addresses = [FIRST, THIRD]
  await it.untilUp(FIRST, THIRD)
  assert.deepEqual(await askedOf(it, 6), { [FIRST]: 3, [THIRD]: 3 })
  resolver.addresses = [SECOND]
  await it.untilUp(SECOND)
  assert.deepEqual(await askedOf(it, 3), { [SECOND]: 3 })
  const { document } = await it.rig.ask('/work', { method: 'POST', body: 'x' })
  await it.rig.status(document.links.self, 'the job is done', ({ status }) => status === 'succeeded')
})

test('the order of the answers changes nothing', async (t) => {
  const resolver = new TestResolver([FIRST, SECOND])
  const it = await scene(t, resolver)
  await it.untilUp(FIRST, SECOND)
  resolver.addresses = [SECOND, FIRST, SECOND]
  await resolver.untilAskedAgain()
  assert.equal(it.rig.events.filter(({ type }) => type === 'server-added').length, 2)
  assert.equal(it.rig.events.filter(({ type }) => type === 'server-removed').length, 0)
})

test('a look-up that fails, or finds nobody, leaves the last addresses, and is told of once', async (t) => {
  const resolver = new TestResolver([FIRST])
  const it = await scene(t, resolver)
  await it.untilUp(FIRST)
  for (const failure of [Object.assign(new Error('gone'), { code: 'ENOTFOUND' }), []]) {
    resolver.addresses = failure
    await resolver.untilAskedAgain()
    assert.equal((await ask(it.rig.url)).text, FIRST)
  }
  const told = it.rig.events.filter(({ type }) => type === 'name-unresolved')
  assert.deepEqual(told, [{ type: 'name-unresolved', name: 'web.test', reason: 'ENOTFOUND', kept: 1 }])
  const [name] = (await it.pool()).names
  assert.deepEqual([name.name, name.addresses, name.error], [`web.test:${it.port}`, [FIRST], 'it has no address'])
  resolver.addresses = [FIRST, SECOND]
  await it.untilUp(FIRST, SECOND)
  assert.deepEqual(
    it.rig.events.filter(({ type }) => type === 'name-resolved'),
    [{ type: 'name-resolved', name: 'web.test', addresses: 2 }],
  )
})

test('a request that comes before the first answer waits for it', async (t) => {
  let answer: ((found: readonly ResolvedAddress[]) => void) | undefined
  const it = await scene(t, { resolve: () => new Promise((resolve) => (answer = resolve)) }, { wait: '20s' })
  const early = ask(it.rig.url)
  await until('it waits', async () => (await it.pool()).waiting === 1)
  answer?.([{ address: FIRST, family: 4 }])
  assert.equal((await early).text, FIRST)
})

test('of a name of both families all addresses are servers, or those of one', async (t) => {
  const resolver = new TestResolver([FIRST, '::1'])
  const it = await scene(t, resolver)
  const names = async (): Promise<Document> =>
    (await it.servers()).map(({ name, state }: Document) => (state === 'leaving' ? '' : name)).filter(Boolean)
  await until('both are there', async () => (await names()).length === 2)
  assert.deepEqual(await names(), [`${FIRST}:${it.port}`, `[::1]:${it.port}`])
  const file = (addresses: 'ipv4' | 'ipv6'): ConfigFile => ({
    pools: { api: { servers: [`http://web.test:${it.port}`], addresses } },
    routes: [{ match: '/*' }],
  })
  assert.equal((await it.rig.reload(file('ipv4'))).kind, 'applied')
  assert.deepEqual(await names(), [`${FIRST}:${it.port}`])
  assert.equal((await it.rig.reload(file('ipv6'))).kind, 'applied')
  assert.deepEqual(await names(), [`[::1]:${it.port}`])
})

test('operators change an address alone, or all of a name', async (t) => {
  const resolver = new TestResolver([FIRST, SECOND])
  const it = await scene(t, resolver)
  await it.untilUp(FIRST, SECOND)
  const change = async (server: string, body: unknown): Promise<Document> =>
    (await it.rig.admin('PATCH', `v1/pools/api/servers/${server}:${it.port}`, body)).document
  assert.equal((await change(FIRST, { state: 'drain' })).state, 'draining')
  assert.deepEqual(await askedOf(it, 3), { [SECOND]: 3 })
  const named = await change('web.test', { weight: 5 })
  assert.deepEqual(
    named.servers.map(({ name, weight, state }: Document) => [name, weight.configured, state]),
    [
      [`${FIRST}:${it.port}`, 5, 'draining'],
      [`${SECOND}:${it.port}`, 5, 'up'],
    ],
  )
  assert.equal((await it.rig.admin('DELETE', `v1/pools/api/servers/${SECOND}:${it.port}`)).status, 200)
  await resolver.untilAskedAgain()
  assert.deepEqual(
    (await it.servers()).flatMap(({ name, state }: Document) => (state === 'leaving' ? [] : [name])),
    [`${FIRST}:${it.port}`],
    'also when it is answered again',
  )
})
