/** Servers that say of themselves how loaded they are, or that they want to be drained: in answers to requests, to jobs and to checks. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ConfigRig, type Document, startConfigRig } from '../support/config-rig.ts'
import { ask } from '../support/http-client.ts'
import { runCommand } from '../support/run-command.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

type Says = Readonly<Record<string, string>>

interface Scene extends AsyncDisposable {
  readonly rig: ConfigRig
  readonly servers: readonly TestServer[]
  readonly file: ConfigFile
  /** From now on its answers, and with `checks` those to its checks, have these fields. */
  say(n: number, fields: Says, checks?: Says): void
  server(n: number): Promise<Document>
  untilStates(...states: readonly string[]): Promise<void>
  /** Who got so many requests, one after the other. */
  reached(count: number, path?: string): Promise<number[]>
  told(type: string): readonly Document[]
  metric(line: RegExp): Promise<boolean>
}

type Pool = Record<string, unknown>

const HEALTH = { path: '/healthz', interval: '50ms', rise: 1 }

async function scene(count: number, pool: Pool = {}): Promise<Scene> {
  const says: Says[] = Array.from({ length: count }, () => ({}))
  const answer = (n: number): TestServer['handle'] => {
    return (_, response) => {
      for (const [name, value] of Object.entries(says[n] ?? {})) response.setHeader(name, value)
      response.end(`s${n}`)
    }
  }
  const servers = await Promise.all(says.map((_, n) => startTestServer(answer(n))))
  const names = servers.map(({ port }) => `127.0.0.1:${port}`)
  const api = { servers: names.map((name) => `http://${name}`), health: HEALTH, slowStart: '0s', balance: 'round-robin', ...pool }
  const file = {
    sticky: { keys: [{ id: 'a', secret: Buffer.alloc(32, 1).toString('base64') }] },
    pools: { api },
    routes: [{ match: 'POST /work', mode: 'queue' }, { match: 'POST /spill', mode: 'spill' }, { match: '/*' }],
  } as unknown as ConfigFile
  const killAll = (): Promise<unknown> => Promise.all(servers.map((server) => server.kill()))
  const rig = await startConfigRig(file).catch(async (error: unknown) => {
    await killAll()
    throw error
  })
  const view = async (): Promise<Document[]> => (await rig.admin('GET', 'v1/pools/api')).document.servers
  const it: Scene = {
    rig,
    servers,
    file,
    say(n, fields, checks) {
      says[n] = fields
      if (checks !== undefined) (servers[n] as TestServer).healthHeaders = checks
    },
    server: async (n) => (await view()).find(({ name }) => name === names[n]),
    untilStates: (...states) =>
      until(`states are ${states.join(' ')}`, async () => (await view()).map(({ state }) => state).join(' ') === states.join(' ')),
    async reached(times, path = '/') {
      const before = servers.map(({ received }) => received.length)
      for (let n = 0; n < times; n++) {
        const told = await ask(`${rig.url}${path}`)
        assert.equal(told.status, 200)
        assert.ok(
          Object.keys(told.headers).every((name) => !name.startsWith('spillway-')),
          'what is for the gateway ends there',
        )
      }
      return servers.map(({ received }, n) => received.length - (before[n] ?? 0))
    },
    told: (type) => rig.events.filter((event) => event.type === type),
    metric: async (line) => line.test((await ask(`${rig.adminUrl}/metrics`)).text),
    async [Symbol.asyncDispose]() {
      await rig[Symbol.asyncDispose]()
      await killAll()
    },
  }
  await it.untilStates(...servers.map(() => 'up'))
  return it
}

test('a server that asks for it in an answer gets nothing new, ends what it has, and is used again when a check does not repeat it', async () => {
  await using it = await scene(2)
  const [first] = it.servers as [TestServer]
  let end: (() => void) | undefined
  const usual = first.handle
  first.handle = (received, response) => {
    if (received.url === '/slow') end = () => void response.end('slow')
    else return usual(received, response)
  }
  // One of two in turns is the first one's.
  const slow = [1, 2].map(() => ask(`${it.rig.url}/slow`))
  await until('it works on one', async () => end !== undefined && (await it.server(0)).inFlight === 1)
  it.say(0, { 'Spillway-Drain': 'now' }, { 'Spillway-Drain': 'now' })
  assert.equal(
    (await it.reached(2)).reduce((sum, count) => sum + count, 0),
    2,
  )
  await it.untilStates('draining', 'up')
  assert.deepEqual(await it.reached(6), [0, 6])
  const drained = await it.server(0)
  assert.deepEqual([drained.because, drained.inFlight, drained.drainWish.until], ['it asks to be drained', 1, 'a check does not repeat it'])
  end?.()
  assert.deepEqual((await Promise.all(slow)).map(({ text }) => text).sort(), ['s1', 'slow'])
  await until('what it had has ended', async () => (await it.server(0)).inFlight === 0)
  it.say(0, {}, {})
  await it.untilStates('up', 'up')
  assert.deepEqual(await it.reached(6), [3, 3])
  assert.deepEqual(
    [it.told('drain-asked').length, it.told('drain-over').map(({ reason }) => reason)],
    [1, ['its check does not ask for it any more']],
  )
})

test('a check is enough to ask, also one that fails; who is down then wishes nothing any more', async () => {
  await using it = await scene(2, { health: { ...HEALTH, fall: 3 } })
  const [first] = it.servers as [TestServer]
  first.healthStatus = 503
  it.say(0, {}, { 'Spillway-Drain': 'now' })
  await it.untilStates('draining', 'up')
  assert.deepEqual(await it.reached(4), [0, 4])
  await first.kill()
  await it.untilStates('down', 'up')
  first.healthStatus = 200
  first.healthHeaders = {}
  await first.revive()
  await it.untilStates('up', 'up')
  assert.deepEqual(
    it.told('drain-over').map(({ reason }) => reason),
    ['it is down'],
  )
})

test('where checks only connect they do not take a wish back, and off does', async () => {
  await using it = await scene(2, { health: { interval: '50ms', rise: 1 } })
  it.say(0, { 'Spillway-Drain': 'now' })
  await it.reached(2)
  await it.untilStates('draining', 'up')
  const checked = async (): Promise<number> =>
    Number(
      /^spillway_checks_total\{.*outcome="passed".*server="127\.0\.0\.1:\d+"\} (\d+)$/m.exec(
        (await ask(`${it.rig.adminUrl}/metrics`)).text,
      )?.[1],
    )
  const before = await checked()
  await until('it was checked three times more', async () => (await checked()) >= before + 3)
  await it.untilStates('draining', 'up')
  it.say(1, { 'Spillway-Drain': 'now' })
  await it.reached(1)
  await it.untilStates('draining', 'draining')
  // The last hope are all of them, so that one can say it.
  it.say(0, { 'Spillway-Drain': 'off' })
  await it.reached(2)
  await it.untilStates('up', 'draining')
})

test('an attempt of a job may ask for it: its result has nothing of that, and the next jobs go elsewhere', async () => {
  await using it = await scene(2)
  it.say(0, { 'Spillway-Drain': '1h', 'Spillway-Load': '0.2' })
  const work = async (): Promise<Document> => {
    const answer = await ask(`${it.rig.url}/work`, { method: 'POST', body: 'x', headers: { Prefer: 'wait=20' } })
    assert.equal(answer.status, 200)
    assert.deepEqual(
      Object.keys(answer.headers).filter((name) => /^spillway-(?:drain|load)$/.test(name)),
      [],
    )
    return answer.text
  }
  await until('it had a job', async () => (await work()) === 's0')
  await it.untilStates('draining', 'up')
  for (let n = 0; n < 8; n++) assert.equal(await work(), 's1')
})

test('all servers ask at once: requests that cannot wait are served all the same, the rest is queued, and both are said', async () => {
  await using it = await scene(2)
  for (const n of [0, 1]) it.say(n, {}, { 'Spillway-Drain': 'now' })
  await it.untilStates('draining', 'draining')
  assert.deepEqual(await it.reached(4), [2, 2])
  const spilled = await ask(`${it.rig.url}/spill`, { method: 'POST', body: 'x', headers: { Prefer: 'respond-async' } })
  assert.equal(spilled.status, 202)
  assert.deepEqual(
    it.told('pool-panics').map(({ hope }) => hope),
    ['drains'],
  )
  it.say(0, {}, {})
  await it.untilStates('up', 'draining')
  await until('the job is done', () => it.servers[0]?.received.some(({ method }) => method === 'POST') === true)
  assert.equal(it.told('pool-calm').length, 1)
})

test('shares follow the loads that answers and checks tell, and it is shown', async () => {
  await using it = await scene(2)
  it.say(0, { 'Spillway-Load': '0.9' }, { 'Spillway-Load': '0.9' })
  it.say(1, { 'Spillway-Load': '0.3' }, { 'Spillway-Load': '0.3' })
  await until('shares have moved', async () => (await it.server(0)).weight.effective < 0.7)
  const [loaded = 0, idle = 0] = await it.reached(40)
  assert.deepEqual([loaded, idle], [10, 30])
  const { load } = await it.server(0)
  assert.deepEqual(load, { reported: 0.9, factor: 0.667 })
  assert.ok(await it.metric(/^spillway_server_load\{pool="api",server="[^"]+"\} 0\.9$/m))
  assert.ok(await it.metric(/^spillway_server_reports_total\{outcome="heeded",pool="api",report="load",server="[^"]+"\} \d+$/m))
})

test('what is garbled changes nothing, and is told once and counted', async () => {
  await using it = await scene(2)
  it.say(0, { 'Spillway-Load': '95%', 'Spillway-Drain': 'please' })
  assert.deepEqual(await it.reached(10), [5, 5])
  assert.deepEqual([(await it.server(0)).state, (await it.server(0)).load], ['up', undefined])
  assert.equal(it.told('report-garbled').length, 1)
  assert.ok(await it.metric(/^spillway_server_reports_total\{outcome="garbled",pool="api",report="drain",server="[^"]+"\} 5$/m))
})

test('a pool that is told to heed nothing heeds nothing; a reload changes that, both ways', async () => {
  await using it = await scene(2, { serverReports: 'off' })
  it.say(0, { 'Spillway-Drain': '1h' })
  assert.deepEqual(await it.reached(6), [3, 3])
  const pools = it.file.pools as unknown as Record<string, Pool>
  const reload = async (serverReports: unknown): Promise<void> => {
    const change = { ...it.file, pools: { api: { ...pools['api'], serverReports } } } as unknown as ConfigFile
    assert.deepEqual((await it.rig.reload(change)).kind, 'applied')
  }
  await reload({ load: 'off' })
  await it.reached(2)
  await it.untilStates('draining', 'up')
  await reload('off')
  await it.untilStates('up', 'up')
  assert.deepEqual(await it.reached(6), [3, 3])
})

test('a server that operators added says it as any other one, and the command shows why it is drained', async () => {
  await using it = await scene(1)
  const extra = await startTestServer((_, response) => {
    response.setHeader('Spillway-Drain', '10m')
    response.setHeader('Spillway-Load', '0.25')
    response.end('extra')
  })
  try {
    const name = `127.0.0.1:${extra.port}`
    assert.equal((await it.rig.admin('PUT', `v1/pools/api/servers/${name}`, {})).status, 201)
    await it.untilStates('up', 'up')
    for (let n = 0; n < 4; n++) await ask(it.rig.url)
    await it.untilStates('up', 'draining')
    const { code, out } = await runCommand(['servers', '--admin', it.rig.adminUrl], { cwd: import.meta.dirname })
    assert.equal(code, 0)
    assert.match(out, new RegExp(`api +${name} +draining +1 +0\\.25 +0/64 +api\\* +it asks to be drained`))
  } finally {
    await extra.kill()
  }
})

test('who was on a server that asks to be drained stays there, and nobody new comes', async () => {
  await using it = await scene(2, { sticky: { cookie: 'srv' } })
  const visit = async (cookie?: string): Promise<readonly [name: string, cookie: string]> => {
    const { text, headers } = await ask(it.rig.url, { headers: cookie === undefined ? {} : { Cookie: cookie } })
    return [text, headers['set-cookie']?.[0]?.split(';')[0] ?? cookie ?? '']
  }
  const [name, cookie] = await visit()
  const drained = name === 's0' ? 0 : 1
  it.say(drained, {}, { 'Spillway-Drain': 'now' })
  await it.untilStates(...[0, 1].map((n) => (n === drained ? 'draining' : 'up')))
  for (let n = 0; n < 4; n++) {
    assert.deepEqual(await visit(cookie), [name, cookie])
    assert.notEqual((await visit())[0], name)
  }
})
