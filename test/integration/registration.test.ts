/** Servers register themselves at the admin address of a running gateway, with tokens that open nothing else. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ConfigRig, type Document, startConfigRig, type Told } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const TOKEN = 'registers-servers-of-api'
const OTHER_TOKEN = 'registers-servers-of-other'
const ADMIN_TOKEN = 'opens-everything-there-is'

interface Scene extends AsyncDisposable {
  readonly rig: ConfigRig
  /** Their names: `127.0.0.1:3000`. */
  readonly names: readonly string[]
  readonly servers: readonly TestServer[]
  readonly file: ConfigFile
  /** At the admin address. */
  call(method: string, path: string, call?: Call): Promise<Told>
  register(name: string, body?: unknown, token?: string): Promise<Told>
  deregister(name: string, token?: string): Promise<Told>
  /** Members and who leaves. */
  members(): Promise<readonly Document[]>
  untilUp(name: string): Promise<void>
  untilGone(name: string): Promise<void>
}

interface Call {
  readonly token?: string | undefined
  readonly body?: unknown
}

interface Wanted {
  readonly pool?: Readonly<Record<string, unknown>>
  readonly registration?: Readonly<Record<string, unknown>> | undefined
  readonly admin?: ConfigFile['admin']
  readonly count?: number
}

function fileOf({ pool, registration, admin }: Wanted): ConfigFile {
  const health = { interval: '100ms', rise: 1 }
  const open = { tokens: [TOKEN], ttlMin: '200ms', ...registration }
  return {
    ...(admin && { admin: { address: '127.0.0.1:0', ...admin } }),
    pools: {
      api: { servers: [], health, slowStart: '0s', wait: '200ms', balance: 'round-robin', registration: open, ...pool },
      other: { servers: [], health, registration: { tokens: [OTHER_TOKEN] } },
    },
    routes: [
      { match: 'POST /work', mode: 'queue', pool: 'api' },
      { match: '/other', pool: 'other' },
      { match: '/*', pool: 'api' },
    ],
  } as ConfigFile
}

async function scene(wanted: Wanted = {}): Promise<Scene> {
  const servers: TestServer[] = []
  for (let n = 0; n < (wanted.count ?? 2); n++) servers.push(await startTestServer())
  const names = servers.map(({ port }) => `127.0.0.1:${port}`)
  const file = fileOf(wanted)
  const rig = await startConfigRig(file)
  const operator = wanted.admin?.token
  const it: Scene = {
    rig,
    names,
    servers,
    file,
    async call(method, path, { token, body } = {}) {
      const headers = {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(token !== undefined && { authorization: `Bearer ${token}` }),
      }
      const text = body === undefined ? {} : { body: JSON.stringify(body) }
      const answer = await ask(`${rig.adminUrl}${path}`, { method, headers, ...text })
      return { ...answer, document: answer.text === '' ? undefined : answer.json() }
    },
    register: (name, body = { ttl: '10s' }, token = TOKEN) => it.call('PUT', `/api/v1/pools/api/servers/${name}`, { token, body }),
    deregister: (name, token = TOKEN) => it.call('DELETE', `/api/v1/pools/api/servers/${name}`, { token }),
    members: async () => (await it.call('GET', '/api/v1/pools/api', { token: operator })).document.servers,
    untilUp: (name) => until(`${name} is up`, async () => (await it.members()).some((one) => one.name === name && one.state === 'up')),
    untilGone: (name) => until(`${name} is gone`, async () => !(await it.members()).some((one) => one.name === name)),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await Promise.all(servers.map((server) => server.kill()))
    },
  }
  return it
}

function codeOf({ status, document }: Told): readonly [number, string] {
  return [status, document?.code]
}

test('a server that registers gets requests by its weight, says so again without a change, and gets none when it has deregistered', async () => {
  await using it = await scene()
  const [first = '', second = ''] = it.names
  assert.equal((await ask(it.rig.url)).status, 503, 'nobody is there yet')
  const told = await it.register(first)
  assert.deepEqual([told.status, told.document.source, told.document.registration.ttlMs], [201, 'registered', 10_000])
  assert.equal((await it.register(second, { ttl: '10s', weight: 3 })).status, 201)
  await it.untilUp(first)
  await it.untilUp(second)
  const before = it.servers.map(({ received }) => received.length)
  for (let n = 0; n < 8; n++) assert.equal((await ask(it.rig.url)).status, 200)
  assert.deepEqual(
    it.servers.map(({ received }, i) => received.length - (before[i] ?? 0)),
    [2, 6],
  )
  const since = (await it.members()).map((one) => one.since)
  const again = await it.register(second, { ttl: '20s', weight: 3 })
  assert.deepEqual([again.status, again.document.state, again.document.registration.ttlMs], [200, 'up', 20_000])
  assert.deepEqual(
    (await it.members()).map((one) => one.since),
    since,
    'a heartbeat is no new beginning',
  )
  assert.equal((await it.register(second, { ttl: '10s' })).document.weight.configured, 1)
  assert.equal((await it.deregister(second)).status, 200)
  await it.untilGone(second)
  assert.deepEqual(codeOf(await it.deregister(second)), [404, 'no_such_server'])
  const got = it.servers[1]?.received.length
  for (let n = 0; n < 4; n++) assert.equal((await ask(it.rig.url)).status, 200)
  assert.equal(it.servers[1]?.received.length, got)
})

test('a request that finds nobody waits for who registers', async () => {
  await using it = await scene({ pool: { wait: '30s' } })
  const waiting = ask(it.rig.url)
  await until('it waits', async () => (await it.call('GET', '/api/v1/pools/api')).document.waiting === 1)
  await it.register(it.names[0] as string)
  assert.equal((await waiting).status, 200)
})

test('jobs run on a server that has registered', async () => {
  await using it = await scene()
  const [first = ''] = it.names
  const job = await ask(`${it.rig.url}/work`, { method: 'POST', body: 'x' })
  assert.equal(job.status, 202)
  assert.equal((await it.register(first)).status, 201)
  await until('the job is done', () => it.servers[0]?.received.some(({ url }) => url === '/work') === true)
})

test('who is not heard of any more drains: what it has in flight ends, and it gets nothing new', async (t) => {
  const held = Promise.withResolvers<void>()
  const slow = await startTestServer((_, response) => void held.promise.then(() => response.end('slow')))
  t.after(() => slow.kill())
  await using it = await scene({ count: 0 })
  const name = `127.0.0.1:${slow.port}`
  await it.register(name)
  await it.untilUp(name)
  const under = ask(it.rig.url)
  await until('it is under way', () => slow.received.some(({ url }) => url === '/'))
  await it.register(name, { ttl: '200ms' })
  await until('it leaves', async () =>
    (await it.members()).some((one) => one.name === name && one.state === 'leaving' && one.inFlight === 1),
  )
  assert.equal((await ask(it.rig.url)).status, 503)
  assert.match(
    it.rig.events.flatMap((event) => (event.type === 'registration-ended' ? [event.reason] : [])).join(),
    /^it was not heard of for 200 ms$/,
  )
  held.resolve()
  assert.deepEqual([(await under).status, (await under).text], [200, 'slow'])
  await it.untilGone(name)
})

test('heartbeats keep a server for longer than its ttl', async () => {
  await using it = await scene()
  const [first = ''] = it.names
  const created = await it.register(first, { ttl: '2s' })
  const end = Date.parse(created.document.registration.endsAt) + 500
  await until('its first ttl is over', async () => {
    assert.equal((await it.register(first, { ttl: '2s' })).status, 200, 'it is still the same registration')
    return Date.now() > end
  })
  assert.equal(it.rig.events.filter(({ type }) => type === 'registration-ended').length, 0)
})

test('so many servers as max says may be registered, not one more; a place that is free is given to the next', async () => {
  await using it = await scene({ registration: { max: 2 }, count: 3 })
  const [first = '', second = '', third = ''] = it.names
  assert.deepEqual([(await it.register(first)).status, (await it.register(second)).status], [201, 201])
  assert.deepEqual(codeOf(await it.register(third)), [409, 'too_many_registered'])
  assert.equal((await it.register(first)).status, 200, 'who is registered is not refused')
  await it.deregister(first)
  assert.equal((await it.register(third)).status, 201)
})

test('a ttl is within its bounds, and what cannot be understood is refused', async () => {
  await using it = await scene({ registration: { ttlMin: '2s', ttlMax: '3s' } })
  const [first = ''] = it.names
  const statuses: number[] = []
  for (const ttl of ['1999ms', '2s', '3s', '3001ms']) statuses.push((await it.register(first, { ttl })).status)
  assert.deepEqual(statuses, [400, 201, 200, 400])
  assert.match((await it.register(first, { ttl: '1s' })).document.detail, /^ttl is from 2000 ms \(registration\.ttlMin\) to 3000 ms/)
  for (const body of [
    {},
    { ttl: 2 },
    { ttl: 'soon' },
    { ttl: '2s', weight: 0 },
    { ttl: '2s', weight: 1001 },
    { ttl: '2s', state: 'up' },
    [],
  ])
    assert.deepEqual(codeOf(await it.register(first, body)), [400, 'invalid_request'], JSON.stringify(body))
  for (const name of ['nowhere', 'worker.internal:3000', '127.0.0.1:0', 'a%20b:1'])
    assert.deepEqual(codeOf(await it.register(name, { ttl: '2s' })), [400, 'invalid_request'], name)
})

for (const admin of [undefined, { token: ADMIN_TOKEN }]) {
  test(`a registration token opens its own pool alone, and a wrong one nothing; operators have ${admin ? 'a token' : 'none'}`, async () => {
    await using it = await scene(admin && { admin })
    const [first = ''] = it.names
    const path = `/api/v1/pools/api/servers/${first}`
    const body = { ttl: '10s' }
    assert.deepEqual(codeOf(await it.register(first, body, 'no-such-token-anywhere')), [401, 'unauthorized'])
    assert.deepEqual(codeOf(await it.deregister(first, 'no-such-token-anywhere')), [401, 'unauthorized'])
    assert.deepEqual(codeOf(await it.register(first, body, OTHER_TOKEN)), [403, 'forbidden'])
    assert.equal((await it.register(first)).status, 201)
    assert.deepEqual(codeOf(await it.deregister(first, OTHER_TOKEN)), [403, 'forbidden'])
    for (const [method, at] of [
      ['GET', path],
      ['PATCH', path],
      ['GET', '/api/v1/pools'],
      ['GET', '/api/pools/api'],
      ['DELETE', '/api/v1/pools/api/changes'],
      ['PUT', '/api/v1/pools/none/servers/127.0.0.1:1'],
      ['POST', '/api/reload'],
      ['POST', '/api/upgrade'],
      ['GET', '/api/routes'],
      ['GET', '/api/v1/queues'],
      ['PUT', `${path}/more`],
      ['PUT', '/api/v1/pools/api/servers/%zz'],
    ] as const)
      assert.deepEqual(codeOf(await it.call(method, at, { token: TOKEN })), [403, 'forbidden'], `${method} ${at}`)
    if (admin) assert.equal((await it.call('GET', '/status', { token: TOKEN })).status, 401)
    assert.equal((await it.members()).length, 1)
  })
}

test('a server of the file, or one that an operator added, is not taken over by who registers', async () => {
  const [fixed, added] = [await startTestServer(), await startTestServer()]
  await using it = await scene({ pool: { servers: [{ url: `http://127.0.0.1:${fixed.port}`, weight: 7 }] } })
  const names = [`127.0.0.1:${fixed.port}`, `127.0.0.1:${added.port}`] as const
  await it.call('PUT', `/api/v1/pools/api/servers/${names[1]}`, { body: { weight: 5 } })
  for (const [i, name] of names.entries()) {
    const refused = await it.register(name)
    assert.deepEqual(codeOf(refused), [409, 'not_by_registration'])
    assert.match(refused.document.detail, i === 0 ? /stands in the file/ : /was added by an operator/)
    assert.deepEqual(codeOf(await it.deregister(name)), [409, 'not_by_registration'])
  }
  assert.deepEqual(
    (await it.members()).map(({ source, weight }) => [source, weight.configured]),
    [
      ['file', 7],
      ['api', 5],
    ],
  )
  await Promise.all([fixed.kill(), added.kill()])
})

test('what an operator says of a registered server holds over its coming and going, reloads and restarts', async () => {
  await using it = await scene()
  const [first = '', second = ''] = it.names
  await it.register(first)
  await it.register(second)
  await it.untilUp(first)
  const drained = await it.call('PATCH', `/api/v1/pools/api/servers/${first}`, { body: { state: 'drain' } })
  assert.deepEqual([drained.status, drained.document.source], [200, 'registered'])
  assert.equal((await it.call('DELETE', `/api/v1/pools/api/servers/${second}`)).status, 200)
  const looks = async (): Promise<unknown> => [(await it.register(first)).document.state, (await it.register(second)).document.takenOut]
  assert.deepEqual(await looks(), ['draining', true])
  await it.deregister(first)
  await it.untilGone(first)
  assert.deepEqual(await looks(), ['draining', true])
  await it.rig.reload()
  assert.deepEqual(await looks(), ['draining', true])
  await it.rig.restart()
  assert.deepEqual(await looks(), ['draining', true])
  assert.equal((await it.call('DELETE', '/api/v1/pools/api/changes')).document.changed, 2)
  await it.untilUp(first)
  await it.untilUp(second)
})

test('a restart keeps registered servers for their ttl, those that left not among them', async () => {
  await using it = await scene()
  const [first = '', second = ''] = it.names
  await it.register(first, { ttl: '10s', weight: 4 })
  await it.register(second)
  await it.deregister(second)
  await it.rig.restart()
  const [kept, ...others] = await it.members()
  assert.deepEqual([kept.name, kept.source, kept.weight.configured, others], [first, 'registered', 4, []])
  await it.untilUp(first)
  assert.equal((await ask(it.rig.url)).status, 200)
  await it.register(first, { ttl: '500ms' })
  await it.rig.restart()
  await it.untilGone(first)
  await it.rig.restart()
  assert.deepEqual(await it.members(), [], 'who was silent is not kept either')
})

test('a reload keeps who is registered; one without registration, or with the server in the file, ends it', async () => {
  await using it = await scene()
  const [first = '', second = ''] = it.names
  await it.register(first)
  await it.register(second)
  await it.untilUp(first)
  const since = (await it.members())[0].since
  assert.equal((await it.rig.reload(fileOf({ registration: { max: 5 } }))).kind, 'applied')
  assert.deepEqual([(await it.members()).length, (await it.members())[0].since], [2, since])
  const inFile = { servers: [{ url: `http://${first}`, weight: 2 }] }
  await it.rig.reload(fileOf({ pool: inFile }))
  assert.deepEqual((await it.members()).map(({ name, source, state, weight }) => [name, source, state, weight.configured]).slice(0, 1), [
    [first, 'file', 'up', 2],
  ])
  assert.equal((await it.members()).length, 2)
  await it.rig.reload(fileOf({ pool: { ...inFile, registration: undefined } }))
  await it.untilGone(second)
  assert.deepEqual(codeOf(await it.register(second)), [401, 'unauthorized'], 'nobody registers there')
  assert.deepEqual(codeOf(await it.deregister(first)), [401, 'unauthorized'], 'nor is an old token an operator')
  await it.rig.reload(it.file)
  assert.deepEqual(
    (await it.members()).filter(({ state }) => state !== 'leaving'),
    [],
  )
})

test('a server that registers beside others begins slowly and is checked before it gets anything', async (t) => {
  const sick = await startTestServer((_, response) => void response.writeHead(500).end())
  t.after(() => sick.kill())
  await using it = await scene({ pool: { slowStart: '60s', health: { path: '/', interval: '100ms', rise: 1, fall: 1 } } })
  const [first = '', second = ''] = it.names
  await it.register(first)
  await it.untilUp(first)
  await it.register(second)
  await it.register(`127.0.0.1:${sick.port}`)
  await it.untilUp(second)
  await until('its check failed', async () => (await it.members())[2].state === 'down')
  const [old, fresh] = await it.members()
  assert.equal(old.slowStart, undefined)
  assert.ok(fresh.slowStart.share < 1)
})
