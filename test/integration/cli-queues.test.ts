/** The commands for queues as processes, against a gateway that is one: what they print, what they change, and their exit codes. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { bareEnvironment } from '../support/child-environment.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { type Outcome, runCommand, runInProcess } from '../support/run-command.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')
const TOKEN = 'a-token-of-the-admin-address'

let folder = ''
let server: TestServer
let gateway: ChildGateway

const spillway = (...args: readonly string[]): Promise<Outcome> => runCommand([...args, '--file', 'cli.yaml'], { cwd: folder })

/** `answer`: what is typed where something is asked. */
function inProcess(args: readonly string[], answer?: string): Promise<Outcome & { readonly asked: string }> {
  const where = args.includes('--admin') ? [] : ['--admin', gateway.adminUrl]
  return runInProcess([...args, ...where], { environment: { SPILLWAY_ADMIN_TOKEN: TOKEN }, ...(answer !== undefined && { answer }) })
}

async function send(path: string, headers: Record<string, string> = {}, body = path): Promise<string> {
  const answer = await ask(gateway.url + path, { method: 'POST', headers, body })
  assert.equal(answer.status, 202, answer.text)
  return String(answer.json()['id'])
}

async function statusOf(id: string): Promise<string> {
  const { out } = await inProcess(['jobs', 'show', id, '--json'])
  return out === '' ? 'forgotten' : String((JSON.parse(out) as { status: string }).status)
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-cli-queues-'))
  server = await startTestServer(({ body }, response) => {
    if (body.toString() !== 'held') response.writeHead(body.toString().startsWith('/bad') ? 500 : 200).end('done')
  })
  const config = {
    admin: { address: '127.0.0.1:0', token: TOKEN },
    pools: { app: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms', path: '/healthz' } } },
    queues: {
      good: {},
      bad: { attempts: 1, onFailure: 'block' },
      spare: {},
    },
    schedules: { nightly: { queue: 'spare', cron: '0 6 * * *', timeZone: 'Europe/Berlin' } },
    topics: { orders: { subscriptions: { audit: { queue: 'spare' } } } },
    routes: [
      { match: 'POST /good', mode: 'queue', queue: 'good', allow: ['delay', 'reference'] },
      { match: 'POST /bad', mode: 'queue', queue: 'bad', key: 'header:X-Key' },
    ],
  } as ConfigFile
  gateway = await startGateway(config, { folder })
  // The configuration of the commands is another file: the gateway's has port 0.
  writeFileSync(join(folder, 'cli.yaml'), JSON.stringify({ ...config, admin: { address: new URL(gateway.adminUrl).host, token: TOKEN } }))
})
after(async () => {
  await gateway.kill()
  await server.kill()
  rmSync(folder, { recursive: true })
})

test('queues: the address and the token come from the configuration; paused and resumed', async () => {
  const listed = await spillway('queues')
  assert.equal(listed.code, 0, listed.err)
  assert.match(listed.out, /^QUEUE +POOL +QUEUED/)
  assert.match(listed.out, /^good +app +0 +0 +0 +0 +-$/m)
  assert.deepEqual(await inProcess(['queues', 'pause', 'good']), {
    code: 0,
    out: 'queue good is paused; again with: spillway queues resume good\n',
    err: '',
    asked: '',
  })
  const id = await send('/good')
  const why = await inProcess(['why', id])
  assert.match(why.out, /It waits: queue good is paused/)
  assert.match((await inProcess(['queues', 'list'])).out, /^good .* paused$/m)
  assert.equal((await inProcess(['queues', 'resume', 'good'])).code, 0)
  await until('the job is done', async () => (await statusOf(id)) === 'succeeded')
  const shown = await inProcess(['queues', 'show', 'good', '--json'])
  assert.equal((JSON.parse(shown.out) as { counts: Record<string, number> }).counts['succeeded'], 1)
  assert.match((await inProcess(['queues', 'show', 'good'])).out, /worked off by +pool app/)
})

test('what is not there, who may not ask, and who does not answer: one line each', async () => {
  assert.deepEqual(await inProcess(['queues', 'show', 'nope']), {
    code: 1,
    out: '',
    err: 'spillway queues show: queue nope: There is no queue of this name\n',
    asked: '',
  })
  const missing = await inProcess(['why', '00000000001'])
  assert.deepEqual([missing.code, missing.err], [1, 'spillway why: job 00000000001: There is no such job, or it is no longer kept\n'])
  const refused = await runInProcess(['jobs', 'list', '--admin', gateway.adminUrl])
  assert.deepEqual(
    [refused.code, refused.err],
    [1, `spillway jobs list: ${gateway.adminUrl} answered 401; it wants its admin token, see SPILLWAY_ADMIN_TOKEN\n`],
  )
  const nobody = await inProcess(['keys', '--admin', 'http://127.0.0.1:9'])
  assert.deepEqual([nobody.code, nobody.err], [1, 'spillway keys blocked: no gateway answers at http://127.0.0.1:9 (bad port)\n'])
})

describe('wrong arguments: one line, exit code 2', () => {
  const cases: Readonly<Record<string, readonly [args: readonly string[], line: string]>> = {
    'a group without its command': [
      ['jobs'],
      'spillway jobs: say which: list, show, follow, cancel, redrive, move, forget, purge, export; see: spillway help jobs',
    ],
    'an unknown command of a group': [
      ['jobs', 'lst'],
      'spillway jobs: there is no command "lst" (did you mean list?); see: spillway help jobs',
    ],
    'a status that is none': [
      ['jobs', 'list', '--status', 'queud'],
      'spillway jobs list: --status "queud" is none (did you mean queued?); there are queued, running, retrying, succeeded, failed, cancelled, expired',
    ],
    'a time that is none': [
      ['jobs', 'list', '--since', 'monday'],
      'spillway jobs list: --since must be a span such as 1h, or a time such as 2030-01-01T00:00:00Z, not "monday"',
    ],
    'a limit below 1': [['jobs', 'list', '--limit', '0'], 'spillway jobs list: --limit must be a number from 1 to 100000'],
    'a limit above the last': [['jobs', 'list', '--limit', '100001'], 'spillway jobs list: --limit must be a number from 1 to 100000'],
    'no job to cancel': [['jobs', 'cancel'], 'spillway jobs cancel: JOB is missing: name jobs, or --queue with filters'],
    'jobs and a queue': [['jobs', 'cancel', 'x', '--queue', 'y'], 'spillway jobs cancel: name jobs, or --queue with filters, not both'],
    'a queue without a filter': [
      ['jobs', 'redrive', '--queue', 'y'],
      'spillway jobs redrive: say which: --dead, --dead=REASON, another filter, or --all',
    ],
    'a filter without a queue': [['jobs', 'redrive', 'x', '--dead'], 'spillway jobs redrive: --dead has no meaning without --queue'],
    'a rate that is none': [
      ['jobs', 'redrive', '--queue', 'y', '--dead', '--rate', '50'],
      'spillway jobs redrive: --rate must be a rate such as 50/s',
    ],
    'nowhere to move to': [['jobs', 'move', 'x'], 'spillway jobs move: --to is missing: to which queue?'],
    'a key without its queue': [['keys', 'release', 'k'], 'spillway keys release: QUEUE is missing; see: spillway help keys release'],
    'a span that is none': [
      ['jobs', 'follow', 'x', '--wait', 'long'],
      'spillway jobs follow: --wait must be a span such as 10m, not "long"',
    ],
    'an export to what is no server': [
      ['jobs', 'export', '--to', 'me@x'],
      'spillway jobs export: --to must be a server such as http://127.0.0.1:3000, not "me@x"',
    ],
    'an export in a format that is none': [
      ['jobs', 'export', '--format', 'xml'],
      'spillway jobs export: --format must be curl or ndjson, not "xml"',
    ],
  }
  for (const [name, [args, line]] of Object.entries(cases)) {
    test(name, async () => {
      const { code, out, err } = await inProcess(args)
      assert.deepEqual([code, out, err], [2, '', `${line}\n`])
    })
  }
})

test('jobs list: filters, newest first, a limit that says that there is more', async () => {
  const ids = [await send('/good', { 'Spillway-Reference': 'r 1' }), await send('/good', { 'Spillway-Delay': '1h' }), await send('/good')]
  await until(
    'two are done',
    async () =>
      (await inProcess(['jobs', 'list', 'good', '--status', 'running'])).out === 'no job\n' &&
      (await statusOf(ids[2] ?? '')) === 'succeeded',
  )
  const idsOf = async (...args: readonly string[]): Promise<readonly string[]> =>
    (JSON.parse((await inProcess(['jobs', 'list', ...args, '--json'])).out) as { jobs: { id: string }[] }).jobs.map(({ id }) => id)
  assert.deepEqual(await idsOf('good', '--reference', 'r 1'), [ids[0]])
  assert.deepEqual(await idsOf('--queue', 'good', '--status', 'queued'), [ids[1]])
  assert.deepEqual((await idsOf('good', '--newest', '--limit', '1'))[0], ids[2])
  assert.deepEqual(await idsOf('good', '--until', '1h'), [])
  assert.equal((await idsOf('--since', '1h')).length >= 3, true)
  const { out } = await inProcess(['jobs', 'list', 'good', '--limit', '1'])
  assert.match(out, /…and more; --limit shows them\n$/)
  assert.match((await inProcess(['jobs', 'list', 'good', '--status', 'queued'])).out, /due in 1 h|due in (59|60) min/)
})

test('show: request and result without credentials, bodies shortened; a token is as good as an id', async () => {
  const id = await send('/good', { Authorization: 'Bearer mine', 'Content-Type': 'text/plain' }, `a\u001b[2J${'x'.repeat(2000)}`)
  await until('it is done', async () => (await statusOf(id)) === 'succeeded')
  const { out } = await inProcess(['jobs', 'show', `${id}.some-secret`])
  assert.match(out, /^status +succeeded$/m)
  assert.match(out, /^result: status 200/m)
  assert.ok(!out.includes('some-secret') && !out.includes('mine') && !out.includes('\u001b'))
})

test('follow: tells until the end; exit code 0 when it succeeded, 1 otherwise', async () => {
  await inProcess(['queues', 'pause', 'good'])
  const id = await send('/good')
  const child = spawn(process.execPath, [MAIN, 'jobs', 'follow', id, '--admin', gateway.adminUrl], {
    env: { ...bareEnvironment(), SPILLWAY_ADMIN_TOKEN: TOKEN },
  })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  const ended = new Promise((resolve) => child.once('close', resolve))
  await until('it waits', () => out.includes('queued'))
  await inProcess(['queues', 'resume', 'good'])
  assert.equal(await ended, 0, out)
  assert.match(out, new RegExp(`^${id} {2}succeeded {2}attempt 1/20$`, 'm'))
  const dead = await send('/bad', { 'X-Key': 'follow' })
  assert.equal((await inProcess(['jobs', 'follow', dead])).code, 1)
  const held = await send('/good', {}, 'held')
  const givenUp = await inProcess(['jobs', 'follow', held, '--wait', '1ms'])
  assert.deepEqual([givenUp.code, givenUp.err], [1, `spillway jobs follow: job ${held}: it has not ended within 1 ms\n`])
  assert.match((await inProcess(['jobs', 'cancel', held])).out, new RegExp(`^job ${held} cancelled\n$`))
})

test('a blocked key: seen, explained, released; the dead letter is redriven, alone and with others', async () => {
  const [first, second] = [await send('/bad', { 'X-Key': 'a b' }), await send('/bad', { 'X-Key': 'a b' })]
  await until('it is dead', async () => (await statusOf(first)) === 'failed')
  const keys = await inProcess(['keys'])
  assert.match(keys.out, new RegExp(`^bad +"a b" +${first} +failed +1$`, 'm'))
  const why = await inProcess(['why', second])
  assert.match(why.out, new RegExp(`job ${first} failed \\(attempts\\) and holds their key "a b"`))
  assert.match(why.out, /spillway keys release bad 'a b'/)
  assert.match((await inProcess(['why', first])).out, /1\. .* to 127\.0\.0\.1:\d+, ended after .* \(attempt 1\): server_error 500/)
  assert.equal((await inProcess(['keys', 'release', 'bad', 'a b'])).out, 'key "a b" of queue bad goes on\n')
  await until('the next is dead too', async () => (await statusOf(second)) === 'failed')
  const refused = await inProcess(['keys', 'release', '--queue', 'bad', 'never-seen'])
  assert.equal(refused.code, 1)

  server.handle = (_, response) => void response.end('mended')
  const one = await inProcess(['jobs', 'redrive', first, '00000000001'])
  assert.equal(one.code, 1)
  assert.match(one.out, new RegExp(`^job ${first} runs again: `))
  assert.match(one.err, /job 00000000001: There is no such job/)
  const many = await inProcess(['jobs', 'redrive', '--queue', 'bad', '--dead', 'attempts', '--rate', '100/s'])
  assert.equal(many.code, 0, many.err)
  assert.match(many.out, /task \d+, redrive: \d+ jobs?, done\n$/)
  await until('all are done', async () => (await inProcess(['jobs', 'list', 'bad', '--dead'])).out === 'no job\n')
  assert.equal(await statusOf(second), 'succeeded')
})

test('what has ended is forgotten, alone or with others; what has not ended stays', async () => {
  server.handle = (_, response) => void response.writeHead(500).end()
  const dead = [await send('/bad'), await send('/bad')]
  for (const job of dead) await until('it is dead', async () => (await statusOf(job)) === 'failed')
  const held = await send('/bad', { 'Spillway-Delay': '1h' })
  const one = await inProcess(['jobs', 'forget', dead[0] ?? '', held])
  assert.deepEqual([one.code, one.out], [1, `job ${dead[0]} forgotten\n`])
  assert.match(one.err, new RegExp(`job ${held}: `))
  const many = await inProcess(['jobs', 'forget', '--queue', 'bad', '--dead'])
  assert.deepEqual([many.code, many.out.endsWith('forget: 1 job, done\n')], [0, true], many.out + many.err)
  assert.equal((await inProcess(['jobs', 'list', 'bad', '--dead'])).out, 'no job\n')
  assert.equal(await statusOf(held), 'queued')
  server.handle = (_, response) => void response.end('mended')
  assert.equal((await inProcess(['jobs', 'cancel', held])).code, 0)
})

test('move, export while it runs, and purge, which asks', async () => {
  await inProcess(['queues', 'pause', 'good'])
  await inProcess(['queues', 'pause', 'spare'])
  const [one, two] = [
    await send('/good', { 'Content-Type': 'application/json' }, '{"n":12345678901234567890}'),
    await send('/good', { Authorization: 'x' }),
  ]
  const moved = await inProcess(['jobs', 'move', one, '--to', 'spare'])
  assert.match(moved.out, new RegExp(`^job ${one} queued in queue spare\n$`))
  const many = await inProcess(['jobs', 'move', '--queue', 'good', '--status', 'queued', '--to', 'spare'])
  assert.equal(many.code, 0, many.err)

  const exported = await inProcess(['jobs', 'export', '--queue', 'spare'])
  assert.equal(exported.code, 0, exported.err)
  assert.ok(exported.out.includes('{\\"n\\":12345678901234567890}'), exported.out)
  assert.match(exported.err, /1 job without credentials, which the admin address does not show/)
  assert.ok(exported.out.includes(`"redacted":["authorization"]`))

  const silent = await inProcess(['jobs', 'purge', 'spare'])
  assert.deepEqual(
    [silent.code, silent.err],
    [2, 'spillway jobs purge: nothing was done: to empty queue spare without a terminal, say --yes spare\n'],
  )
  const mistyped = await inProcess(['jobs', 'purge', 'spare'], 'spar')
  assert.equal(mistyped.code, 2)
  assert.match(mistyped.asked, /^queue spare holds \d queued\.\nThat cannot be undone\./)
  assert.equal(await statusOf(two), 'queued')
  assert.equal((await inProcess(['jobs', 'purge', 'spare', '--yes', 'good'])).code, 2)
  const purged = await inProcess(['jobs', 'purge', 'spare'], 'spare')
  assert.equal(purged.code, 0, purged.err)
  assert.equal((await inProcess(['jobs', 'list', 'spare'])).out, 'no job\n')
  const scripted = await spillway('jobs', 'purge', 'spare', '--yes', 'spare')
  assert.equal(scripted.code, 0, scripted.err)
})

test('schedules and topics are listed', async () => {
  assert.match((await inProcess(['schedules'])).out, /^nightly +spare +0 6 \* \* \* Europe\/Berlin +\d{4}-/m)
  assert.match((await inProcess(['topics', 'list'])).out, /^orders +audit +spare +all$/m)
})

test('bench measures, and leaves nothing behind', async () => {
  const before = readdirSync(folder)
  const { code, out } = await runInProcess(['bench', '--path', folder, '--span', '400ms', '--in-flight', '20', '--json'])
  assert.equal(code, 0)
  const measured = JSON.parse(out) as { submits: { perSecond: number }; lives: { perSecond: number }; bytesPerJob: number }
  assert.ok(measured.submits.perSecond > 0 && measured.lives.perSecond > 0 && measured.bytesPerJob > 1024, out)
  assert.deepEqual(readdirSync(folder), before)
})
