/**
 * The runbook, tried as an engineer on call would: a gateway is broken in eight ways, the commands are typed that the pages name, they must say
 * what it is and what to type next, that is typed, and it must be over.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BrokenGateway, type Shelled, SLOW_SYNCS, startBroken, WAYS } from '../support/broken-gateway.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/until.ts'

/** For what a loaded machine does, and for figures of the last minute. */
const PATIENCE_MS = 180_000

/** Each command is a process: nobody types faster, and what takes long is looked at less often. */
const TYPED_AGAIN_MS = 1000
const TYPED_AGAIN_MS_MAX = 6000

/** Waits a little longer each time that it is called. */
function impatience(): () => Promise<false> {
  let waitMs = 0
  return async () => {
    waitMs = Math.min(TYPED_AGAIN_MS_MAX, waitMs + TYPED_AGAIN_MS)
    await sleep(waitMs)
    return false
  }
}

/** What `status` says of each, and of nothing else. */
const CAUSES: Readonly<Record<keyof typeof WAYS, RegExp>> = {
  'dead-servers': /^ {2}pool api: no server is up: connection (refused|failed: ECONNREFUSED)(, connection .*)?$/m,
  'poison-job': /^ {2}queue work: dead letters: 1 attempts$/m,
  'blocked-key': /^ {2}queue work: 1 key waits behind a failed job$/m,
  'full-disk': /^ {2}store: refuses every new job: disk, \d.* is free, 4 MiB is kept in reserve$/m,
  'slow-disk': /^ {2}store: the disk is slow: \d+ syncs of the last minute took \d+ ms on average, the worst (7|8|9|\d\d)\d\d ms$/m,
  'stuck-consumer': /^ {2}queue pulled: a hand-out has been running for .*, an attempt may take 1 s$/m,
  'growing-backlog': /^ {2}queue work: jobs wait that take about \d+ min: all 2 places are taken \(1 per server, 2 up\)$/m,
  'bad-reload': /^ {2}reload: a reload was refused at .*: \S*spillway\.yaml:2:1 {2}rutes {2}unknown key/m,
}

function pageOf(name: keyof typeof WAYS): string {
  return readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'runbook', `${WAYS[name]?.page ?? ''}.md`), 'utf8')
}

/** Types the line until it says all of that. */
async function says(broken: BrokenGateway, line: string, ...patterns: readonly RegExp[]): Promise<string> {
  let seen: Shelled = { code: 0, out: '', err: '' }
  const later = impatience()
  await until(
    () => `${line} says ${String(patterns)}; it says (${seen.code}):\n${seen.out}${seen.err}`,
    async () => {
      seen = await broken.type(line)
      return patterns.every((pattern) => pattern.test(seen.out + seen.err)) || later()
    },
    PATIENCE_MS,
  )
  return seen.out + seen.err
}

/** The command that an output advises, as it stands there; it must end where its own words do. */
function advised(output: string, command: RegExp): string {
  const found = new RegExp(`spillway ${command.source}`).exec(output)?.[0]
  assert.ok(found !== undefined, `nothing advises ${command.source} in:\n${output}`)
  return found
}

async function done(broken: BrokenGateway, line: string): Promise<string> {
  const { code, out, err } = await broken.type(line)
  assert.equal(code, 0, `${line}: ${out}${err}`)
  return out
}

async function isQuiet(broken: BrokenGateway): Promise<void> {
  let seen = ''
  const later = impatience()
  await until(
    () => `nothing needs a look any more; it says:\n${seen}`,
    async () => {
      const { code, out, err } = await broken.type('spillway status')
      seen = out + err
      return (code === 0 && !seen.includes('needs a look')) || later()
    },
    PATIENCE_MS,
  )
}

function names(name: keyof typeof WAYS, ...words: readonly string[]): void {
  for (const word of words) assert.ok(pageOf(name).includes(word), `docs/runbook/${WAYS[name]?.page}.md does not name ${word}`)
}

/** Starts it, has `status` and `doctor` name the cause, has it mended, and waits until it is over. */
function trial(name: keyof typeof WAYS, title: string, mend: (broken: BrokenGateway, status: string) => Promise<void>): void {
  const way = WAYS[name]
  assert.ok(way !== undefined)
  test(`${name}: ${title}`, { timeout: 600_000 }, async (t: TestContext) => {
    const problem = way.problem?.()
    if (problem !== undefined) return t.skip(problem)
    await using broken = await startBroken(way)
    const isFileBroken = name === 'bad-reload'
    const status = await says(
      broken,
      isFileBroken ? `spillway status --admin ${broken.gateway.adminUrl}` : 'spillway status',
      CAUSES[name] as RegExp,
    )
    if (!isFileBroken) {
      const [, check = '', cause = ''] = /^ {2}([^:]+): (.*)$/.exec((CAUSES[name] as RegExp).exec(status)?.[0] ?? '') ?? []
      assert.ok(check !== '' && cause !== '')
      await says(broken, 'spillway doctor', new RegExp(`^(fail|warn|note) +${check} `, 'm'))
    }
    await mend(broken, status)
    await isQuiet(broken)
  })
}

// Side by side: the disk that was slow is looked at for a minute more.
describe('from the symptom to the mend', { concurrency: 2 }, () => {
  trial('dead-servers', 'the servers are named with why and since when; when they are back, the job is done', async (broken, status) => {
    assert.match(status, /127\.0\.0\.1:\d+ +down .*ECONNREFUSED|connection refused.*, for /)
    assert.match(status, /-> look at the servers, and at what health\.path answers there/)
    const [job = ''] = broken.jobs
    await says(broken, `spillway why ${job}`, /It waits: no server of pool api is up: /, /bring a server back; the job is kept/)
    names('dead-servers', 'Bring the servers back', 'no server is up', '`spillway status`')
    await broken.heal()
    await done(broken, `spillway jobs follow ${job}`)
  })

  trial('poison-job', 'the dead letter is found, why tells what the servers answered, and it is run again', async (broken, status) => {
    const [job = ''] = broken.jobs
    const list = advised(status, /jobs list work --dead/)
    assert.match(await done(broken, list), new RegExp(`^${job} +work +failed .*dead: attempts, server_error 500$`, 'm'))
    const why = await says(broken, `spillway why ${job}`, /all its attempts failed\. The last word: server_error 500/)
    names('poison-job', '`spillway jobs list <queue> --dead`', '`spillway why <job>`', '`spillway jobs redrive <job>`')
    const redrive = advised(why, /jobs redrive \w+/)
    await broken.heal()
    await done(broken, redrive)
    await done(broken, `spillway jobs follow ${job}`)
  })

  trial('blocked-key', 'the holder and who waits are named; it is run again in its place, or skipped', async (broken, status) => {
    const [holder = '', waiting = ''] = broken.jobs
    const keys = await done(broken, advised(status, /keys blocked work/))
    assert.match(keys, new RegExp(`^work +acme +${holder} +failed +1$`, 'm'))
    const why = await says(
      broken,
      `spillway why ${waiting}`,
      new RegExp(`job ${holder} failed \\(server_error\\) and holds their key acme`),
    )
    await says(broken, advised(why, new RegExp(`why ${holder}`)), /server_error 422/)
    names('blocked-key', '`spillway keys blocked <queue>`', '`spillway jobs redrive <job>`', '`spillway keys release <queue> <key>`')
    broken.behaviour.refuse.clear()
    await done(broken, advised(why, new RegExp(`jobs redrive ${holder}`)))
    await done(broken, `spillway jobs follow ${waiting}`)
    await isQuiet(broken)

    broken.behaviour.refuse.set('refused', 422)
    await broken.send('refused', 'other acme')
    const next = String((await broken.send('next', 'other acme')).json()['id'])
    await says(broken, 'spillway status', CAUSES['blocked-key'] as RegExp)
    const again = await says(broken, `spillway why ${next}`, /holds their key "other acme"/)
    await done(broken, advised(again, /keys release work '[^']+'/))
    await done(broken, `spillway jobs follow ${next}`)
    const after = await says(broken, 'spillway status', /queue work: dead letters: 1 server_error/)
    assert.doesNotMatch(after, CAUSES['blocked-key'] as RegExp)
    broken.behaviour.refuse.clear()
    await done(broken, 'spillway jobs redrive --queue work --dead')
  })

  trial('full-disk', 'the disk is named; where room is made, jobs are taken again', async (broken, status) => {
    assert.match(status, /-> make room on the disk of .*data\/store; nothing that was accepted is lost/)
    await says(broken, 'spillway doctor', /^fail +disk space +.* below 4 MiB every new job is refused$/m)
    assert.match(await done(broken, 'du -a data | sort -n'), /data\/ballast/)
    names('full-disk', 'Remove what is not the store', '`df -h <store.path>`')
    await broken.heal()
    await until('jobs are taken again', async () => (await broken.send('now')).status === 202, PATIENCE_MS)
  })

  trial('slow-disk', 'the disk is named, also by its own measurement; when it is fast again it is over', async (broken, status) => {
    assert.match(status, /-> every 202 waits for one: see who else writes to this disk \(iostat -x 1, spillway doctor\)/)
    await says(broken, `strace -f ${SLOW_SYNCS.join(' ')} "$NODE" "$MAIN" doctor`, /^warn +sync +.* writes with sync: median 7\d\d ms/m)
    await until('the event tells of it, too', () => broken.gateway.of('sync-slow').length > 0)
    names('slow-disk', '`iostat -x 1`', '`spillway doctor`', 'Move the other writer')
    await broken.heal()
    await until('jobs are taken', async () => (await broken.send('fast')).status === 202)
  })

  trial('stuck-consumer', 'the job and who has it are named, and it is cancelled', async (broken, status) => {
    const [job = ''] = broken.jobs
    const list = await done(broken, advised(status, /jobs list pulled --status running/))
    assert.match(list, new RegExp(`^${job} .*on "pull bob"$`, 'm'))
    const why = await says(broken, `spillway why ${job}`, /It runs on "pull bob" since .*a consumer extends its lease/s)
    names('stuck-consumer', '`spillway jobs list <queue> --status running`', '`spillway why <job>`', '`spillway jobs cancel <job>`')
    await done(broken, advised(why, /jobs cancel \w+/))
    await says(broken, `spillway why ${job}`, /cancelled/)
  })

  trial(
    'growing-backlog',
    'what holds it is named long before clients complain; a reload with more places mends it',
    async (broken, status) => {
      assert.match(status, /-> add servers, or raise queues\.work\.concurrency/)
      assert.match(await done(broken, 'spillway queues list'), /^work +api +[12]\d\d\d +2 /m)
      await says(broken, `spillway why ${broken.jobs.at(-1) ?? ''}`, /all 2 places of the queue are taken/, /number \d+ in the line, about/)
      names('growing-backlog', '`spillway queues list`', '`concurrency`', '`spillway reload`')
      broken.write({ queues: { work: { concurrency: 30 } } })
      assert.match(await done(broken, 'spillway reload'), /holds from now on\n$/)
    },
  )

  trial('bad-reload', 'the line is named, the gateway goes on, and the mended file holds', async (broken, status) => {
    const { code, err } = await broken.type('spillway status')
    assert.equal(code, 2)
    assert.match(err, /^spillway\.yaml:2:1 {2}rutes {2}unknown key {2}\(did you mean routes\?\)\n.*spillway status --admin /)
    assert.equal((await ask(`${broken.gateway.url}/work`, { method: 'POST', body: 'still' })).status, 202)
    const check = advised(status, /check/)
    const wrong = await broken.type(check)
    assert.deepEqual([wrong.code, wrong.err], [2, 'spillway.yaml:2:1  rutes  unknown key  (did you mean routes?)\n'])
    names('bad-reload', '`spillway check', '`spillway reload`', '--admin')
    broken.write({})
    assert.match(await done(broken, check), /ok/)
    await done(broken, advised(status, /reload/))
  })
})

test('canary: a gateway that is well shows none of the causes, and what is not advised is not found', async () => {
  await using well = await startBroken({ says: '', heals: '', page: '', breakIt: () => Promise.resolve({ heal: () => undefined }) })
  await well.send('fine')
  const { out } = await well.type('spillway status')
  for (const [name, cause] of Object.entries(CAUSES)) assert.doesNotMatch(out, cause, name)
  assert.throws(() => advised(out, /jobs redrive \w+/), /nothing advises/)
  assert.throws(() => names('dead-servers', '`spillway fly`'), /does not name/)
})
