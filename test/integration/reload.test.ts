/** A running gateway reads its configuration again: what holds at once, what waits for a restart, and that a wrong file changes nothing. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { AdminStatus, ConfigStatus } from '../../src/admin/status.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway, writeConfig } from '../support/child-gateway.ts'
import { FastClient } from '../support/fast-client.ts'
import { MetricsPage } from '../support/gateway-process.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { type Outcome, runCommand } from '../support/run-command.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const TOKEN = 'a-token-that-nobody-may-see'

interface Rig extends AsyncDisposable {
  readonly folder: string
  readonly file: string
  readonly servers: readonly [TestServer, TestServer]
  readonly gateway: ChildGateway
  /** The configuration of the start, with changes. */
  config(change?: Partial<ConfigFile>): ConfigFile
  write(change?: Partial<ConfigFile>): void
  /** By the admin address. */
  reload(): Promise<Answer>
  status(): Promise<AdminStatus>
  metrics(): Promise<MetricsPage>
  /** A command of ours with the admin address of the gateway. */
  cli(...args: readonly string[]): Promise<Outcome>
}

async function rig(): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-reload-'))
  const servers = [await startTestServer(), await startTestServer()] as const
  const config = (change: Partial<ConfigFile> = {}): ConfigFile => ({
    pools: { api: [`http://127.0.0.1:${servers[0].port}`] },
    queues: { work: { attempts: 3 }, later: { pull: true } },
    routes: [{ match: 'POST /work', mode: 'queue' }, { match: '/old' }],
    ...change,
  })
  const gateway = await startGateway(config(), { folder })
  return {
    folder,
    file: join(folder, 'spillway.yaml'),
    servers,
    gateway,
    config,
    write: (change) => void writeConfig(config(change), { folder }),
    reload: () => ask(`${gateway.adminUrl}/api/reload`, { method: 'POST' }),
    status: async () => (await ask(`${gateway.adminUrl}/status`)).json() as unknown as AdminStatus,
    metrics: async () => new MetricsPage((await ask(`${gateway.adminUrl}/metrics`)).text),
    cli: (...args) => runCommand([...args, '--admin', gateway.adminUrl], { cwd: folder }),
    async [Symbol.asyncDispose]() {
      await Promise.all([gateway.kill(), ...servers.map((server) => server.kill())])
      rmSync(folder, { recursive: true })
    },
  }
}

const post = (gateway: ChildGateway, path: string, body = 'x', headers: Record<string, string> = {}): Promise<Answer> =>
  ask(`${gateway.url}${path}`, { method: 'POST', body, headers })

async function result(gateway: ChildGateway, submitted: Answer): Promise<number> {
  return (await ask(`${gateway.url}${String(submitted.headers.location)}/result?wait=30s`)).status
}

describe('a good file', () => {
  test('SIGHUP: routes, queues, a new pool, API keys, schedules and topics hold at once', async () => {
    await using it = await rig()
    const { gateway, servers } = it
    assert.equal((await ask(`${gateway.url}/new`)).status, 404)
    await until('the old pool is up', async () => (await ask(`${gateway.url}/old`)).status === 200)
    it.write({
      pools: { api: [`http://127.0.0.1:${servers[0].port}`], other: [`http://127.0.0.1:${servers[1].port}`] },
      queues: { work: { attempts: 5, pool: 'api' }, small: { pool: 'other', limits: { jobs: 1 }, concurrency: 1 }, later: { pull: true } },
      routes: [
        { match: 'POST /work', mode: 'queue', pool: 'api' },
        { match: 'POST /small', mode: 'queue', queue: 'small', pool: 'other' },
        { match: '/new', pool: 'other' },
      ],
      api: { keys: [{ name: 'sender', token: TOKEN, queues: ['later'], can: ['send'] }] },
      schedules: { often: { queue: 'later', every: '1s', job: { text: 'tick' } } },
      topics: { orders: { subscriptions: { all: { queue: 'later' } } } },
      drainTimeout: '5s',
    })
    gateway.signal('SIGHUP')
    await until('it says that it holds', () => gateway.of('config-reloaded').length === 1)
    assert.deepEqual(gateway.of('config-reloaded')[0]?.['needsRestart'], [])
    assert.equal((await ask(`${gateway.url}/old`)).status, 404, 'a route that is gone')
    assert.equal((await ask(`${gateway.url}/new`)).status, 200, 'a route to a pool that is new')
    assert.deepEqual(
      servers[1].received.map(({ url }) => url),
      ['/new'],
    )
    servers[1].handle = () => undefined
    assert.deepEqual([(await post(gateway, '/small')).status, (await post(gateway, '/small')).status], [202, 503], 'a limit that is new')
    const { location = '' } = (await post(gateway, '/work')).headers
    assert.equal((await ask(`${gateway.url}${location}`)).json()['attempts'], 5, 'attempts for new jobs')
    const sent = await post(gateway, '/_spillway/api/queues/later/jobs', '{"text":"x"}', {
      authorization: `Bearer ${TOKEN}`,
      'content-type': 'application/json',
    })
    assert.equal(sent.status, 201, 'a key that is new')
    const schedules = await it.cli('schedules', 'list')
    assert.match(schedules.out, /often/)
    await until('the schedule has made a job', async () => /succeeded|queued/.test((await it.cli('jobs', 'list', 'later')).out))
    assert.match((await it.cli('topics', 'list')).out, /orders/)
    const { config } = await it.status()
    assert.deepEqual([config.needsRestart, config.refused], [[], undefined])
    assert.equal((await it.metrics()).sum('spillway_config_reloads_total', 'outcome="applied"'), 1)
    assert.ok(!gateway.output.includes(TOKEN))
  })

  test('what is taken out: the schedule ends, the key is void, the queue keeps its jobs, an attempt that runs goes on', async () => {
    await using it = await rig()
    const { gateway, servers } = it
    const answers: (() => void)[] = []
    servers[0].handle = (_, response) => void answers.push(() => response.end('done'))
    it.write({
      api: { keys: [{ name: 'all', token: TOKEN, queues: ['*'], can: ['send'] }] },
      schedules: { often: { queue: 'later', every: '1h', job: { text: 'tick' } } },
      topics: { orders: { subscriptions: { all: { queue: 'later' } } } },
    })
    assert.equal((await it.reload()).status, 200)
    const submitted = await post(gateway, '/work')
    const direct = ask(`${gateway.url}/old`)
    direct.catch(() => undefined)
    await until('both are with the server', () => answers.length === 2)
    it.write({ queues: {}, routes: [{ match: '/else' }] })
    assert.equal((await it.reload()).status, 200)
    assert.equal((await post(gateway, '/_spillway/api/queues/later/jobs')).status, 404, 'without keys there is no API')
    assert.match((await it.cli('schedules', 'list')).out, /^there are no schedules/)
    assert.match((await it.cli('topics', 'list')).out, /^there are no topics/)
    for (const answer of answers) answer()
    assert.equal((await direct).text, 'done')
    assert.equal(await result(gateway, submitted), 200)
    const work = (await it.cli('queues', 'list')).out.split('\n').find((line) => line.startsWith('work'))
    assert.notEqual(work, undefined, 'the queue is still there')
    assert.equal((await post(gateway, '/work')).status, 404)
  })

  test('a queue goes over to another pool, and back', async () => {
    await using it = await rig()
    const { gateway, servers } = it
    const urls = servers.map(({ port }) => `http://127.0.0.1:${port}`)
    const to = (pool: string): Partial<ConfigFile> => ({
      pools: { api: [urls[0] as string], other: [urls[1] as string] },
      routes: [{ match: 'POST /work', mode: 'queue', pool }],
      queues: { work: { pool } },
    })
    for (const [pool, server] of [
      ['other', servers[1]],
      ['api', servers[0]],
      ['other', servers[1]],
    ] as const) {
      it.write(to(pool))
      assert.equal((await it.reload()).status, 200)
      const before = server.received.length
      assert.equal(await result(gateway, await post(gateway, '/work')), 200)
      assert.equal(server.received.length, before + 1)
    }
  })

  test('a module is read anew, too', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-reload-module-'))
    const server = await startTestServer()
    const file = join(folder, 'spillway.config.ts')
    const write = (path: string): void =>
      writeFileSync(
        file,
        `export default { listeners: ['127.0.0.1:0'], admin: { address: '127.0.0.1:0' }, log: { format: 'json' }, store: { engine: 'memory' },
          pools: { api: ['http://127.0.0.1:${server.port}'] }, routes: [{ match: '${path}' }] }`,
      )
    write('/a')
    const gateway = await startGateway({} as ConfigFile, { folder, file })
    t.after(async () => {
      await Promise.all([gateway.kill(), server.kill()])
      rmSync(folder, { recursive: true })
    })
    for (const path of ['/b', '/c']) {
      write(path)
      assert.equal((await ask(`${gateway.adminUrl}/api/reload`, { method: 'POST' })).status, 200)
      assert.equal((await ask(`${gateway.url}${path}`)).status, 200)
    }
    assert.equal((await ask(`${gateway.url}/b`)).status, 404)
  })
})

describe('a file that is wrong', () => {
  test('changes nothing, says why without the values in it, and shows until a good one is read', async () => {
    await using it = await rig()
    const { gateway } = it
    await until('the pool is up', async () => (await ask(`${gateway.url}/old`)).status === 200)
    const before = await it.status()
    const wrong = { pools: { api: [`http://user:${TOKEN}@127.0.0.1:1`] }, rutes: [], queues: { work: { pool: 'nowhere' } } }
    writeFileSync(it.file, JSON.stringify(wrong))
    gateway.signal('SIGHUP')
    await until('it says that it is refused', () => gateway.of('config-refused').length === 1)
    const told = gateway.of('config-refused')[0]?.['problems'] as readonly string[]
    assert.ok(
      told.some((line) => /rutes {2}unknown key {2}\(did you mean routes\?\)$/.test(line)),
      told.join('\n'),
    )
    assert.ok(told.some((line) => line.includes('pools.api[0]  must be a URL')))
    assert.equal((await ask(`${gateway.url}/old`)).status, 200, 'what held before goes on')
    const { config } = await it.status()
    assert.deepEqual([config.readAt, config.refused?.problems], [before.config.readAt, told])
    const { out } = await it.cli('status')
    assert.match(
      out,
      /needs a look:\n {2}reload: a reload was refused at 2.*, the configuration before it goes on: .*\n {4}-> spillway check/,
    )
    assert.equal((await it.metrics()).sum('spillway_config_refused'), 1)
    const answer = await it.reload()
    assert.deepEqual([answer.status, answer.json()['code'], answer.json()['problems']], [422, 'config_refused', told])
    const byCommand = await it.cli('reload')
    assert.deepEqual([byCommand.code, byCommand.out], [1, ''])
    assert.match(byCommand.err, /^spillway reload: .*pools\.api\[0\]/)
    for (const text of [gateway.output, out, answer.text, byCommand.err]) assert.ok(!text.includes(TOKEN), text)
    it.write()
    assert.deepEqual(await it.cli('reload'), { code: 0, out: 'the configuration was read again and holds from now on\n', err: '' })
    const after = (await it.status()).config
    assert.equal(after.refused, undefined)
    assert.ok(after.readAt > before.config.readAt)
    assert.doesNotMatch((await it.cli('status')).out, /needs a look/)
    const metrics = await it.metrics()
    assert.deepEqual([metrics.sum('spillway_config_refused'), metrics.sum('spillway_config_reloads_total', 'outcome="refused"')], [0, 3])
  })

  test('one that cannot be read, is no file, or is empty is refused as well', async () => {
    await using it = await rig()
    const { gateway, file } = it
    rmSync(file)
    assert.match((await it.reload()).json()['detail'] as string, /there is no such file/)
    mkdirSync(file)
    assert.match((await it.reload()).json()['detail'] as string, /it is a folder/)
    rmSync(file, { recursive: true })
    writeFileSync(file, '')
    assert.match((await it.reload()).json()['detail'] as string, /is empty/)
    await until('and goes on', async () => (await ask(`${gateway.url}/old`)).status === 200)
  })

  test('one whose schedule does not fit what runs is refused as a whole', async () => {
    await using it = await rig()
    const job = { text: 'x'.repeat(1_500_000) }
    it.write({
      limits: { jobBody: '2MiB' },
      routes: [{ match: '/new' }],
      schedules: { large: { queue: 'later', every: '1h', job } },
    })
    const answer = await it.reload()
    assert.equal(answer.status, 422)
    assert.match(answer.json()['detail'] as string, /schedule large: .*larger than 1048576 bytes \(limits\.jobBody\)/)
    assert.equal((await ask(`${it.gateway.url}/new`)).status, 404)
  })
})

test('what cannot be changed in place is named, stays as it was, and the rest holds', async () => {
  await using it = await rig()
  const { gateway, servers } = it
  await until('the pool is up', async () => (await ask(`${gateway.url}/old`)).status === 200)
  it.write({
    listeners: ['127.0.0.1:0', '127.0.0.1:0'],
    admin: { address: '127.0.0.1:0', token: TOKEN },
    pools: { api: { servers: [`http://127.0.0.1:${servers[1].port}`], maxInFlight: 3 } },
    limits: { head: '16KiB' },
    timeouts: { idle: '9s' },
    jobs: { path: '/_elsewhere', waitMax: '50s' },
    routes: [{ match: '/new' }],
    store: { path: './elsewhere' },
    queues: {},
  })
  const keys = ['listeners', 'admin.token', 'store.path', 'limits.head', 'timeouts.idle', 'jobs.path']
  const sorted = (value: unknown): string[] => [...(value as readonly string[])].sort()
  const answer = await it.reload()
  assert.equal(answer.status, 200, answer.text)
  assert.deepEqual([answer.status, sorted(answer.json()['needsRestart'])], [200, keys.toSorted()])
  await until('the event is there', () => gateway.of('config-reloaded').length === 1)
  assert.deepEqual(sorted(gateway.of('config-reloaded')[0]?.['needsRestart']), keys.toSorted())
  const before = servers[0].received.length
  assert.equal((await ask(`${gateway.url}/new`)).status, 200)
  assert.deepEqual([servers[0].received.length, servers[1].received.length], [before, 1], 'its servers are the new ones')
  const status = await it.status()
  assert.deepEqual([sorted(status.config.needsRestart), status.pools[0]?.maxInFlight], [keys.toSorted(), 3])
  assert.match((await it.cli('status')).out, /reload: the file was read again, and some of it holds only after a restart: .*limits\.head/)
  it.write({ routes: [{ match: '/new' }], queues: {} })
  assert.deepEqual((await it.reload()).json()['needsRestart'], [], 'put back as it was, nothing is left')
  assert.doesNotMatch((await it.cli('status')).out, /needs a look/)
})

test('only those who may use the admin address may reload, and only by POST', async () => {
  await using it = await rig()
  const { adminUrl } = it.gateway
  const get = await ask(`${adminUrl}/api/reload`)
  assert.deepEqual([get.status, get.headers.allow], [405, 'POST'])
  const page = await ask(`${adminUrl}/api/reload`, { method: 'POST', headers: { origin: 'http://evil.example' } })
  assert.equal(page.status, 403)
  const host = await ask(`${adminUrl}/api/reload`, { method: 'POST', headers: { host: 'evil.example' } })
  assert.equal(host.status, 421)
  assert.equal(it.gateway.of('config-reloaded').length, 0)
})

test('reloads that come together all see the last file, one after the other', async () => {
  await using it = await rig()
  const answers: Promise<Answer>[] = []
  for (let round = 0; round < 8; round++) {
    it.write({ routes: [{ match: `/r${round}` }, { match: 'POST /work', mode: 'queue' }] })
    answers.push(it.reload(), it.reload())
    it.gateway.signal('SIGHUP')
  }
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200)
  await until('the last one holds', async () => (await ask(`${it.gateway.url}/r7`)).status === 200)
  assert.equal((await ask(`${it.gateway.url}/r6`)).status, 404)
  const { readAt } = (await it.status()).config satisfies ConfigStatus
  assert.ok(readAt > 0)
})

interface Load {
  readonly jobs: readonly string[]
  readonly direct: number
  /** Rejects when a request has failed, or a connection was closed. */
  readonly ended: Promise<unknown>
  stop(): void
}

/** Six clients, each with one connection for all of its requests: three send jobs, three ask directly. */
function startLoad(gateway: ChildGateway): Load {
  let stop = false
  let direct = 0
  const jobs: string[] = []
  const clients = Array.from({ length: 6 }, async (_, i) => {
    const client = await FastClient.connect(Number(new URL(gateway.url).port))
    for (let n = 0; !stop; n++) {
      const queued = i % 2 === 0
      const answer = queued ? await client.send('POST', '/work', '', `${i} ${n}`) : await client.send('GET', '/old')
      assert.equal(answer.status, queued ? 202 : 200, answer.head)
      if (queued) jobs.push((JSON.parse(answer.body.toString()) as { readonly id: string }).id)
      else direct++
    }
    client.socket.destroy()
  })
  const ended = Promise.all(clients)
  ended.catch(() => undefined)
  return {
    jobs,
    get direct() {
      return direct
    },
    ended,
    stop: () => {
      stop = true
    },
  }
}

test('under load, no request fails, no connection is closed, and no job is lost or done twice', async () => {
  await using it = await rig()
  const { gateway, servers } = it
  servers[0].handle = async ({ method }, response) => {
    if (method === 'POST') await new Promise((resolve) => setTimeout(resolve, 2))
    response.end('done')
  }
  await until('the pool is up', async () => (await ask(`${gateway.url}/old`)).status === 200)
  const load = startLoad(gateway)
  for (let round = 0; round < 15; round++) {
    const enough = { jobs: load.jobs.length + 20, direct: load.direct + 20 }
    it.write({
      queues: { work: { attempts: 3 + round, concurrency: 1 + (round % 8) }, later: { pull: true } },
      routes: [{ match: 'POST /work', mode: 'queue' }, { match: '/old' }, { match: `/r${round}` }],
    })
    if (round % 3 === 2) writeFileSync(it.file, '{ not a configuration')
    assert.equal((await it.reload()).status, round % 3 === 2 ? 422 : 200)
    await Promise.race([load.ended, until('traffic has flowed', () => load.jobs.length > enough.jobs && load.direct > enough.direct)])
  }
  load.stop()
  await load.ended
  await until('all jobs are done', async () => (await it.metrics()).unfinished('work') === 0)
  const posted = servers[0].received.filter(({ method }) => method === 'POST').map(({ headers }) => headers['spillway-job'])
  assert.deepEqual(posted.toSorted(), load.jobs.toSorted())
})

test('canary: the load notices a reload that takes its route away', async () => {
  await using it = await rig()
  await until('the pool is up', async () => (await ask(`${it.gateway.url}/old`)).status === 200)
  const load = startLoad(it.gateway)
  await until('traffic flows', () => load.direct > 20)
  it.write({ routes: [{ match: 'POST /work', mode: 'queue' }] })
  assert.equal((await it.reload()).status, 200)
  await assert.rejects(load.ended, /404/)
  load.stop()
})
