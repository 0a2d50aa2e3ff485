/** Operators look at the servers of a running gateway and change them: over the admin API and by commands. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ConfigRig, type Document, startConfigRig, type Told } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { runCommand } from '../support/run-command.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

interface Scene extends AsyncDisposable {
  readonly rig: ConfigRig
  readonly servers: readonly [TestServer, TestServer]
  readonly names: readonly [string, string]
  readonly file: ConfigFile
  pool(): Promise<Document>
  server(name: string): Promise<Document>
  change(method: string, name: string, body?: unknown, headers?: Record<string, string>): Promise<Told>
  untilUp(...names: readonly string[]): Promise<void>
  /** Who got so many requests. */
  reached(count: number): Promise<readonly [number, number]>
}

function poolOf({ pools }: ConfigFile): { readonly servers: string[] } {
  return (pools as Record<string, { servers: string[] }>)['api'] ?? { servers: [] }
}

function serversOf(file: ConfigFile): string[] {
  return poolOf(file).servers
}

/** Its file has the first of two servers. */
async function scene(change: (file: ConfigFile) => ConfigFile = (file) => file): Promise<Scene> {
  const servers = [await startTestServer(), await startTestServer()] as const
  const names = [`127.0.0.1:${servers[0].port}`, `127.0.0.1:${servers[1].port}`] as const
  const file = change({
    pools: { api: { servers: [`http://${names[0]}`], health: { interval: '100ms', rise: 1 }, slowStart: '0s', balance: 'round-robin' } },
    routes: [{ match: 'POST /work', mode: 'queue' }, { match: '/*' }],
  })
  const rig = await startConfigRig(file)
  const told = async (path: string): Promise<Document> => (await rig.admin('GET', path)).document
  const it: Scene = {
    rig,
    servers,
    names,
    file,
    pool: () => told('v1/pools/api'),
    server: (name) => told(`v1/pools/api/servers/${name}`),
    async change(method, name, body, headers = {}) {
      const type = body === undefined ? {} : { 'content-type': 'application/json' }
      const answer = await ask(`${rig.adminUrl}/api/v1/pools/api/servers/${name}`, {
        method,
        headers: { ...type, ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      })
      return { ...answer, document: answer.json() }
    },
    untilUp: (...wanted) =>
      until('they are up', async () => {
        const { servers: all } = await it.pool()
        return wanted.every((name) => all.some((server: Document) => server.name === name && server.state === 'up'))
      }),
    async reached(count) {
      const before = servers.map(({ received }) => received.length)
      for (let n = 0; n < count; n++) assert.equal((await ask(rig.url)).status, 200)
      return servers.map(({ received }, i) => received.length - (before[i] ?? 0)) as unknown as readonly [number, number]
    },
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await Promise.all(servers.map((server) => server.kill()))
    },
  }
  await it.untilUp(names[0])
  return it
}

test('a server is added, weighed, drained, made ready and taken out while it runs; each answer says what has changed', async () => {
  await using it = await scene()
  const [first, second] = it.names
  const added = await it.change('PUT', second, { weight: 3 })
  assert.deepEqual([added.status, added.document.source, added.document.changes.length], [201, 'api', 3])
  await it.untilUp(second)
  assert.deepEqual(await it.reached(8), [2, 6])
  const weighed = await it.change('PATCH', second, { weight: 1 })
  assert.deepEqual([weighed.status, weighed.document.changes], [200, [{ what: 'weight', from: 3, to: 1 }]])
  assert.deepEqual(await it.reached(8), [4, 4])
  const drained = await it.change('PATCH', first, { state: 'drain' })
  assert.deepEqual(drained.document.changes, [{ what: 'state', from: 'ready', to: 'drain' }])
  assert.deepEqual([drained.document.state, drained.document.because], ['draining', 'an operator set it to drain'])
  assert.deepEqual(await it.reached(4), [0, 4])
  assert.equal((await it.change('PATCH', first, { state: 'ready' })).document.state, 'up')
  assert.deepEqual(await it.reached(8), [4, 4])
  const out = await it.change('DELETE', second)
  assert.deepEqual([out.status, out.document.changes[0]], [200, { what: 'member', from: true, to: false }])
  assert.deepEqual(await it.reached(4), [4, 0])
  assert.equal((await it.change('GET', second)).status, 404)
})

test('a change that is sent twice changes once', async () => {
  await using it = await scene()
  const [first, second] = it.names
  const changes = async (method: string, name: string, body?: unknown): Promise<readonly [number, number]> => {
    const { status, document } = await it.change(method, name, body)
    return [status, document.changes?.length ?? 0]
  }
  assert.deepEqual(await changes('PUT', second, {}), [201, 3])
  assert.deepEqual(await changes('PUT', second, {}), [200, 0])
  assert.deepEqual(await changes('PATCH', first, { state: 'drain' }), [200, 1])
  assert.deepEqual(await changes('PATCH', first, { state: 'drain' }), [200, 0])
  assert.deepEqual(await changes('DELETE', first), [200, 3])
  assert.deepEqual(await changes('DELETE', first), [200, 0], 'it is in the file, and out of the pool')
  assert.deepEqual(await changes('PUT', first, {}), [201, 3], 'as in the file again')
  assert.deepEqual((await it.server(first)).changed, undefined)
})

test('If-Match: who has seen another state changes nothing', async () => {
  await using it = await scene()
  const [first] = it.names
  const tag = String((await it.change('GET', first)).headers.etag)
  assert.equal((await it.change('PATCH', first, { weight: 5 }, { 'if-match': tag })).status, 200)
  const late = await it.change('PATCH', first, { state: 'drain' }, { 'if-match': tag })
  assert.deepEqual([late.status, late.document.code], [412, 'precondition_failed'])
  const { weight, state } = await it.server(first)
  assert.deepEqual([weight.configured, state], [5, 'up'])
  assert.equal((await it.change('PATCH', first, { weight: null }, { 'if-match': '*' })).document.weight.configured, 1)
})

test('of two changes at the same time with the same If-Match one is made', async () => {
  await using it = await scene()
  const [first] = it.names
  const tag = String((await it.change('GET', first)).headers.etag)
  const both = await Promise.all([2, 3].map((weight) => it.change('PATCH', first, { weight }, { 'if-match': tag })))
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 412])
})

test('changes hold over a reload and a restart, and end with a reset', async () => {
  await using it = await scene()
  const [first, second] = it.names
  await it.change('PUT', second, { weight: 2 })
  await it.change('PATCH', first, { state: 'drain' })
  const states = async (): Promise<Document> =>
    (await it.pool()).servers.map((server: Document) => [
      server.name,
      server.source,
      server.state,
      server.weight.configured,
      server.changed !== undefined,
    ])
  const expected = [
    [first, 'file', 'draining', 1, true],
    [second, 'api', 'up', 2, true],
  ]
  await it.untilUp(second)
  assert.deepEqual(await states(), expected)
  assert.equal((await it.rig.reload(it.file)).kind, 'applied')
  assert.deepEqual(await states(), expected)
  await it.rig.restart()
  await it.untilUp(second)
  assert.deepEqual(await states(), expected)
  const reset = await it.rig.admin('DELETE', 'v1/pools/api/changes')
  assert.equal(reset.document.changed, 2)
  assert.deepEqual(
    (await states()).filter(([, , state]: readonly string[]) => state !== 'leaving'),
    [[first, 'file', 'up', 1, false]],
  )
  await it.rig.restart()
  await it.untilUp(first)
  assert.equal((await it.pool()).servers.length, 1)
})

test('who leaves the file leaves what was changed about it', async () => {
  await using it = await scene()
  const [first, second] = it.names
  await it.change('PATCH', first, { state: 'drain' })
  const other = { ...it.file, pools: { api: [`http://${second}`] } }
  assert.equal((await it.rig.reload(other)).kind, 'applied')
  await until('it is forgotten', () => it.rig.events.some((event) => event.type === 'server-changed' && event.change === 'as in the file'))
  assert.equal((await it.rig.reload(it.file)).kind, 'applied')
  await it.untilUp(first)
})

test('a server in maintenance is not checked, and begins anew when it is ready', async () => {
  await using it = await scene()
  const [first] = it.names
  const checkedAt = async (): Promise<string> => (await it.server(first)).health.last.at
  await it.change('PATCH', first, { state: 'maint' })
  assert.equal((await it.server(first)).state, 'maint')
  await it.servers[0].kill()
  assert.equal((await ask(it.rig.url)).status, 503)
  const before = await checkedAt()
  await it.change('PUT', it.names[1], {})
  await it.untilUp(it.names[1])
  assert.equal(await checkedAt(), before)
  await it.servers[0].revive()
  await it.change('PATCH', first, { state: 'ready' })
  await it.untilUp(first)
  assert.notEqual(await checkedAt(), before)
})

test('a drained server gets no jobs: those that wait for it move at once, and come back', async () => {
  await using it = await scene()
  const [first, second] = it.names
  await it.change('PUT', second, {})
  await it.untilUp(first, second)
  const buckets = async (): Promise<Document> => JSON.parse((await ask(`${it.rig.adminUrl}/status`)).text).queues[0].buckets
  const before = await buckets()
  await it.change('PATCH', first, { state: 'drain' })
  assert.deepEqual(await buckets(), { [first]: 0, [second]: 256 })
  const sent = await Promise.all(Array.from({ length: 8 }, () => it.rig.ask('/work', { method: 'POST', body: 'x' })))
  for (const { document } of sent) await it.rig.status(document.links.self, 'it is done', ({ status }) => status === 'succeeded')
  assert.equal(it.servers[0].received.length, 0)
  await it.change('PATCH', first, { state: 'ready' })
  assert.deepEqual(await buckets(), before)
})

test('keys of a drained server go elsewhere while it is drained, and no other ones', async () => {
  await using it = await scene((file) => ({
    ...file,
    pools: {
      api: { servers: serversOf(file), balance: { hash: 'query:id', over: '100%' }, slowStart: '0s' },
    },
  }))
  const [first, second] = it.names
  await it.change('PUT', second, {})
  await it.untilUp(first, second)
  const owners = async (): Promise<readonly boolean[]> => {
    const ids = Array.from({ length: 24 }, (_, id) => id)
    const owned: boolean[] = []
    for (const id of ids) {
      const before = it.servers[0].received.length
      await ask(`${it.rig.url}/?id=${id}`)
      owned.push(it.servers[0].received.length > before)
    }
    return owned
  }
  const before = await owners()
  assert.ok(before.includes(true) && before.includes(false))
  await it.change('PATCH', first, { state: 'drain' })
  assert.ok((await owners()).every((isFirst) => !isFirst))
  await it.change('PATCH', first, { state: 'ready' })
  assert.deepEqual(await owners(), before)
})

test('the document says why a server is as it is', async () => {
  await using it = await scene((file) => ({
    ...file,
    pools: {
      api: {
        ...poolOf(file),
        servers: serversOf(file),
        eject: { failures: 1 },
      },
    },
  }))
  const [first, second] = it.names
  const { health, state, because, since, slots } = await it.server(first)
  assert.deepEqual(
    [health.state, health.check, health.last.result, state, because, slots],
    ['up', 'tcp', 'passed', 'up', 'check passed', 64],
  )
  assert.ok(Date.parse(since) <= Date.now())
  await it.change('PUT', second, {})
  await it.untilUp(second)
  it.servers[0].handle = (_, response) => void response.writeHead(500).end()
  await ask(it.rig.url)
  await ask(it.rig.url)
  const out = await it.server(first)
  assert.deepEqual([out.state, out.ejection.standing, out.ejection.reason], ['ejected', 'ejected', '1 requests in a row failed'])
  assert.ok(Date.parse(out.ejection.until) > Date.now())
  await it.servers[1].kill()
  await until('its check has failed', async () => (await it.server(second)).state === 'down')
  const down = await it.server(second)
  assert.match(JSON.stringify(down.health), /"result":"failed","reason":"connection refused"/)
})

test('what cannot be is refused, with a word about what can', async () => {
  await using it = await scene((file) => ({ ...file, limits: { serverChanges: 1 } }))
  const [first, second] = it.names
  const status = async (method: string, path: string, body?: unknown): Promise<readonly [number, string]> => {
    const { status: code, document } = await it.rig.admin(method, path, body)
    return [code, document.code]
  }
  assert.deepEqual(await status('GET', 'v1/pools/none'), [404, 'no_such_pool'])
  assert.deepEqual(await status('GET', 'pools/api/servers/10.9.9.9:1'), [404, 'no_such_server'])
  assert.deepEqual(await status('PATCH', 'pools/api/servers/10.9.9.9:1', { weight: 2 }), [404, 'no_such_server'])
  assert.deepEqual(await status('DELETE', 'pools/api/servers/10.9.9.9:1'), [404, 'no_such_server'])
  assert.deepEqual(await status('POST', 'pools/api/servers'), [405, 'method_not_allowed'])
  assert.deepEqual(await status('GET', 'v1/pools/api/else'), [404, 'not_found'])
  for (const path of ['pools/api/servers/nowhere:x', 'pools/api/servers/%zz', 'pools/api/servers/10.0.0.1:99999'])
    assert.deepEqual(await status('PUT', path, {}), [400, 'invalid_request'], path)
  for (const body of [{ weight: 0 }, { weight: 1001 }, { weight: 1.5 }, { state: 'up' }, { other: 1 }, [], 'x'])
    assert.deepEqual(await status('PATCH', `pools/api/servers/${first}`, body), [400, 'invalid_request'], JSON.stringify(body))
  assert.equal((await it.change('PATCH', first, { weight: 1000 })).status, 200)
  assert.deepEqual(await status('PUT', `pools/api/servers/${second}`, {}), [409, 'too_many_server_changes'])
  assert.equal((await it.change('PATCH', first, { weight: 7 })).status, 200, 'one that is changed already')
  assert.deepEqual(
    (await it.rig.admin('GET', 'pools')).document.pools.map(({ name }: Document) => name),
    ['api'],
  )
})

test('the commands do the same', async () => {
  await using it = await scene()
  const [first, second] = it.names
  const cli = async (...args: readonly string[]): Promise<string> => {
    const { code, out, err } = await runCommand(['servers', ...args, '--admin', it.rig.adminUrl], { cwd: import.meta.dirname })
    return code === 0 ? out : `${code} ${err}`
  }
  assert.match(await cli('list'), new RegExp(`api +${first} +up +1 +\\d+/64 +file +check passed, since 2`))
  assert.equal(await cli('add', second, '--weight', '2'), `${second}, pool api: is in the pool now\n`)
  assert.equal(await cli('weight', second, '4'), `${second}, pool api: weight 2 → 4\n`)
  assert.equal(await cli('drain', 'api', second), `${second}, pool api: state ready → drain\n`)
  assert.match(await cli('list', 'api'), new RegExp(`api +${second} +draining +4 +\\d+/\\d+ +api\\* +an operator set it to drain`))
  assert.equal(await cli('ready', second), `${second}, pool api: state drain → ready\n`)
  assert.equal(await cli('remove', second), `${second}, pool api: is not in the pool any more\n`)
  assert.match(await cli('remove', second), /^1 spillway servers remove: Pool api has no server/)
  assert.match(await cli('weight', first, 'much'), /^1 spillway servers weight: Send \{"weight"/)
  await cli('maint', first)
  assert.equal(await cli('reset', 'api'), 'pool api is as in the file; 1 change forgotten\n')
})
