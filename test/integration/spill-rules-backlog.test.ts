/** The rules of spill, 8 to 13: what becomes of a backlog, of live requests beside it, and of what is too much. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RouteConfig } from '../../src/config/config.ts'
import { type Answer, ask } from '../support/http-client.ts'
import type { JobsRig } from '../support/jobs-rig.ts'
import { isJob, type SpillScene, spillScene } from '../support/spill-scene.ts'
import { until } from '../support/until.ts'

const LONG_MS = 60_000
const RULES = { onFailure: 'skip', overflow: 'refuse' } as const
const ASYNC = { prefer: 'respond-async' }

async function counts(rig: JobsRig): Promise<Record<string, number>> {
  return (await rig.store.stats())[0]?.counts ?? {}
}

/** Stores so many. */
async function store(it: SpillScene, names: readonly string[], headers: Readonly<Record<string, string>> = ASYNC): Promise<Answer[]> {
  const answers: Answer[] = []
  for (const name of names) answers.push(await it.send(name, { headers }))
  return answers
}

function numbered(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${name}-${n}`)
}

/** Live requests come and are served, until `done`. */
async function liveUntil(it: SpillScene, done: () => boolean | Promise<boolean>): Promise<void> {
  let n = 0
  await until('live requests have seen it', async () => {
    assert.equal((await it.send(`quick-live-${n++}`, { to: 'direct' })).status, 200)
    return done()
  })
}

test('rule 8: jobs that have waited for long get a share while fresh ones wait; a fresh one does not wait for the backlog', async () => {
  const afterMs = 4000
  await using it = await spillScene({ queue: { rules: { ...RULES, sideline: { afterMs, share: 0.2 } } } })
  const busy = it.send('busy', { to: 'direct' })
  await it.at('busy')
  await store(it, numbered('old', 10))
  await new Promise((resolve) => setTimeout(resolve, afterMs + 50))
  await store(it, numbered('fresh', 5))
  for (let n = 1; n <= 16; n++) {
    it.visits[n - 2]?.finish()
    await until('the next one comes', () => it.visits.length === n)
  }
  it.visits[15]?.finish()
  await busy
  assert.equal(it.names.map((name) => name[0]).join(''), 'bfffffoooooooooo')
})

test('rule 8: the share goes on while more fresh jobs come than are handed out', async () => {
  const afterMs = 4000
  await using it = await spillScene({ queue: { rules: { ...RULES, sideline: { afterMs, share: 0.5 } } } })
  const busy = it.send('busy', { to: 'direct' })
  await it.at('busy')
  await store(it, numbered('old', 5))
  await new Promise((resolve) => setTimeout(resolve, afterMs + 50))
  await store(it, numbered('fresh', 10))
  for (let n = 1; n <= 9; n++) {
    it.visits[n - 2]?.finish()
    await until('the next one comes', () => it.visits.length === n)
  }
  it.visits[8]?.finish()
  await busy
  assert.equal(
    it.names
      .slice(0, 9)
      .map((name) => name[0])
      .join(''),
    'bffofofof',
  )
  for (let n = 10; n <= 16; n++) {
    await until('the next one comes', () => it.visits.length === n)
    it.visits[n - 1]?.finish()
  }
})

test('rule 8: while live requests come jobs leave them a fifth of the slots, and take it, too, when they have stopped', async () => {
  await using it = await spillScene({ pool: { maxInFlight: 10, reserve: 0.2 }, queue: { concurrency: 10 } })
  await it.send('quick-live', { to: 'direct' })
  await store(it, numbered('job', 12))
  await until('jobs have what they may have', () => it.visits.length === 9)
  const [server] = it.rig.pool.servers
  await liveUntil(it, () => it.names.filter((name) => name.startsWith('quick')).length > 20)
  assert.deepEqual([server?.jobs, it.names.filter((name) => name.startsWith('job')).length], [8, 8])
  await until('jobs take the rest', () => server?.jobs === 10)
  for (const visit of it.visits) if (!visit.answered) visit.finish()
  await until('the last two come', () => it.names.filter((name) => name.startsWith('job')).length === 12)
  for (const visit of it.visits) if (!visit.answered) visit.finish()
  await until('all are done', async () => (await counts(it.rig))['succeeded'] === 12)
  assert.equal(server?.jobs, 0)
})

test('rule 8: when servers come back and live requests come, the backlog begins with one job per server and takes more from interval to interval', async () => {
  await using slow = await spillScene({ pool: { maxInFlight: 64 }, queue: { pace: { intervalMs: LONG_MS } } })
  await slow.killServers()
  await store(slow, numbered('job', 8))
  const held = slow.send('quick-live', { to: 'direct' })
  await slow.reviveServers()
  assert.equal((await held).status, 200)
  await slow.at('job-0')
  await liveUntil(slow, () => slow.visits.length > 20)
  assert.equal(slow.rig.servers[0]?.inFlight, 1, 'one, within the first interval')

  await using it = await spillScene({ pool: { maxInFlight: 64 }, queue: { pace: { intervalMs: 50 } } })
  await it.killServers()
  await store(it, numbered('job', 8))
  const first = it.send('quick-live', { to: 'direct' })
  await it.reviveServers()
  assert.equal((await first).status, 200)
  await liveUntil(it, () => it.rig.servers[0]?.inFlight === 8)
})

test('rule 8: with nobody else there the backlog takes all at once', async () => {
  await using it = await spillScene({ pool: { maxInFlight: 64 }, queue: { pace: { intervalMs: LONG_MS } } })
  for (let n = 0; n < 8; n++) await it.rig.submit()
  await until('all run', () => it.rig.servers[0]?.inFlight === 8)
})

test('rule 8: "not now" holds until its server has been down and is back, however long it was said for', async () => {
  await using it = await spillScene({ pool: { maxInFlight: 4 }, route: { patienceMs: 0 } })
  const stored = it.send('one', { headers: { prefer: 'wait=0' } })
  ;(await it.at('one')).finish(503, { 'retry-after': '3600' })
  assert.equal((await stored).status, 202)
  assert.ok(isJob(await it.send('quick-two', { headers: { prefer: 'wait=0' } })), 'it rests')
  await it.killServers()
  await it.reviveServers()
  assert.equal((await it.send('quick-three', { to: 'direct' })).status, 200)
  await until('the first comes again', () => it.names.filter((name) => name === 'one').length === 2)
  it.visits.find(({ name, answered }) => name === 'one' && !answered)?.finish()
})

test('rule 8: a line of live requests that never ends does not keep the backlog from being worked off', async () => {
  await using it = await spillScene({ pool: { maxInFlight: 1, waitMs: LONG_MS } })
  let sent = 0
  let isOver = false
  const visitors = Array.from({ length: 20 }, async () => {
    while (!isOver) assert.equal((await it.send(`quick-${sent++}`, { to: 'direct' })).status, 200)
  })
  await until('there is a line', () => it.rig.pool.waiting > 5)
  await store(it, numbered('quick-job', 2))
  const before = sent
  await until('both are done', async () => (await counts(it.rig))['succeeded'] === 2)
  assert.ok(it.rig.pool.waiting > 5, 'the line has not ended')
  assert.ok(sent - before > 20, 'live requests go first')
  isOver = true
  await Promise.all(visitors)
  assert.deepEqual([it.rig.pool.waiting, it.rig.servers[0]?.inFlightMax], [0, 1])
})

test('rule 9: a queue takes as many jobs as it may hold, and refuses one more with a time to come back', async () => {
  await using it = await spillScene({ queue: { limits: { jobs: 3, bytes: 1 << 30, finished: 1 << 30 } } })
  await it.killServers()
  for (const answer of await store(it, numbered('job', 3))) assert.equal(answer.status, 202)
  const refused = await it.send('one-more')
  assert.deepEqual([refused.status, refused.json()['code'], isJob(refused)], [503, 'queue_full', false])
  assert.match(String(refused.headers['retry-after']), /^[1-9]\d?$/)
})

test('rule 9: where jobs expire, one that would expire before its turn is not taken', async () => {
  await using it = await spillScene({ queue: { concurrency: 1, expireAfterMs: 400 } })
  const unknown = it.send('first', { headers: { prefer: 'respond-async' } })
  assert.equal((await unknown).status, 202, 'nobody knows yet how long they take')
  const visit = await it.at('first')
  await new Promise((resolve) => setTimeout(resolve, 500))
  visit.finish()
  await until('it has ended', async () => (await counts(it.rig))['succeeded'] === 1)
  // One runs, and one can begin when it has ended: of those behind it, one would be too late.
  const answers = await store(it, numbered('job', 4))
  assert.deepEqual(
    answers.map(({ status }) => status),
    [202, 202, 202, 503],
  )
  const refused = answers[3] as Answer
  assert.match(String(refused.json()['detail']), /2 jobs wait, and at the rate of late the next one would expire before its turn/)
  assert.ok(it.rig.events.some((event) => event.type === 'limit-reached' && event.limit === 'wait'))
})

test('rule 10: tenants take turns: who has one job does not wait for who has many', async () => {
  await using it = await spillScene({ queue: { concurrency: 1 }, route: { tenant: { from: 'header', name: 'x-tenant' } } })
  await it.killServers()
  await store(it, numbered('many', 10), { ...ASYNC, 'x-tenant': 'many' })
  await store(it, ['one'], { ...ASYNC, 'x-tenant': 'one' })
  await it.reviveServers()
  for (let n = 1; n <= 3; n++) {
    await until('the next one comes', () => it.visits.length === n)
    it.visits[n - 1]?.finish()
  }
  assert.ok(it.names.slice(0, 2).includes('one'), it.names.join(' '))
})

test('rule 11: of requests that reached a server in vain as many are sent again as the budget says, and not one more', async () => {
  await using it = await spillScene({ servers: 2, pool: { maxInFlight: 64, retries: { budget: 0, minPerSecond: 3 } } })
  let served = 0
  for (const server of it.rig.servers) {
    server.handle = (_, response) => {
      served++
      response.destroy()
    }
  }
  // On connections of their own: one that has gone stale is nobody's failure.
  const answers = await Promise.all(numbered('broken', 10).map((name) => it.send(name, { to: 'direct' })))
  for (const { status } of answers) assert.equal(status, 502)
  assert.equal(served, 10 + 3)
})

test('rule 11: a budget is earned by first tries', async () => {
  await using it = await spillScene({ servers: 2, pool: { maxInFlight: 64, retries: { budget: 0.01, minPerSecond: 0 } } })
  let served = 0
  for (const server of it.rig.servers) {
    server.handle = (_, response) => {
      served++
      response.destroy()
    }
  }
  const send = async (count: number): Promise<void> => {
    for (const name of numbered('broken', count)) assert.equal((await it.send(name, { to: 'direct' })).status, 502)
  }
  // What a thousand tries earn is there at the start, and used up by ten requests.
  await send(110)
  assert.ok(served === 110 + 10 + 1 || served === 110 + 10, `${served}`)
  const before = served
  await send(100)
  assert.equal(served - before, 100 + 1, 'a hundred tries earn one')
})

test('rule 11: what reached no server costs no server anything, and no budget', async () => {
  await using it = await spillScene({ servers: 2, pool: { maxInFlight: 64, retries: { budget: 0, minPerSecond: 0 } } })
  await it.rig.servers[0]?.kill()
  for (const name of numbered('quick', 10)) assert.equal((await it.send(name, { to: 'direct' })).status, 200)
})

test('rule 11: nothing is sent again while most servers have as much as they can take', async () => {
  await using it = await spillScene({ servers: 3, pool: { retries: { budget: 1, minPerSecond: 100 } } })
  const busy = [it.send('a', { to: 'direct' }), it.send('b', { to: 'direct' })]
  const taken = [(await it.at('a')).server, (await it.at('b')).server]
  const third = it.rig.servers.find(({ port }) => !taken.includes(port))
  if (third !== undefined) third.handle = (_, response) => void response.destroy()
  const refused = await it.send('broken', { to: 'direct' })
  assert.deepEqual([refused.status, refused.json()['code']], [502, 'connection_reset'])
  assert.deepEqual(it.names, ['a', 'b'])
  ;(await it.at('a')).finish()
  await busy[0]
  const again = it.send('quick-again', { to: 'direct' })
  assert.equal((await again).status, 200, 'one of three is busy: now it is')
  ;(await it.at('b')).finish()
  await busy[1]
})

function modeOf(it: SpillScene): string {
  return it.rig.routeModes.of('POST /spill/*') === undefined ? 'direct' : 'queue'
}

function flips(it: SpillScene): string[] {
  return it.rig.events.flatMap((event) => (event.type === 'mode-flipped' ? [event.to] : []))
}

test('rule 12: with no server up a route queues at once, and goes direct again by itself when all is quiet', async () => {
  await using it = await spillScene({ route: { spill: { enterMs: LONG_MS, leaveMs: 500 } } })
  await it.killServers()
  assert.equal(modeOf(it), 'direct')
  await store(it, ['quick-0'], { prefer: 'wait=0' })
  assert.equal(modeOf(it), 'queue')
  assert.equal(it.rig.routeModes.of('POST /spill/*')?.cause, 'no_server')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  assert.equal(modeOf(it), 'queue', 'nobody comes, and yet no server is up')
  await it.reviveServers()
  await it.at('quick-0')
  await until('it is direct again', () => modeOf(it) === 'direct')
  assert.deepEqual(flips(it), ['queue', 'direct'])
})

test('rule 12: under pressure it queues after a while; then one at a time waits for `patience` and no other, and who finds a slot is served', async () => {
  await using it = await spillScene({ route: { patienceMs: 150, spill: { enterMs: 100, leaveMs: 500 } } })
  const busy = it.send('busy', { to: 'direct' })
  await it.at('busy')
  const stored = async (count: number): Promise<void> =>
    until(
      () => `${count} are stored`,
      async () => (await counts(it.rig))['queued'] === count,
    )
  const answers = [it.send('quick-1')]
  await stored(1)
  assert.equal(modeOf(it), 'direct', 'one is no pressure')
  answers.push(it.send('quick-2'))
  await stored(2)
  assert.deepEqual([modeOf(it), it.rig.routeModes.of('POST /spill/*')?.cause], ['queue', 'capacity'])
  const submits = it.rig.calls.submit
  const many = numbered('quick-3', 10).map((name) => it.send(name))
  let together = 0
  await until('nine of them are stored', () => {
    together = Math.max(together, it.rig.pool.waiting)
    return it.rig.calls.submit >= submits + 9
  })
  assert.ok(together <= 1, `${together} waited`)
  ;(await it.at('busy')).finish()
  for (const answer of await Promise.all(answers)) assert.deepEqual([answer.status, isJob(answer)], [200, true])
  for (const { status } of await Promise.all([busy, ...many])) assert.equal(status, 200)
  await until('live traffic goes on: who finds a slot is served', async () => !isJob(await it.send('quick-4')))
  await until('it is direct again', () => modeOf(it) === 'direct')
  assert.deepEqual(flips(it), ['queue', 'direct'])
})

test('rule 12: a backlog alone does not keep it from going direct: live requests have slots beside it', async () => {
  await using it = await spillScene({
    pool: { maxInFlight: 2 },
    queue: { concurrency: 1 },
    route: { spill: { enterMs: 0, leaveMs: 300 } },
  })
  await it.killServers()
  await store(it, numbered('job', 6), { prefer: 'wait=0' })
  assert.equal(modeOf(it), 'queue')
  await it.reviveServers()
  await it.at('job-0')
  await until('it is direct again', () => modeOf(it) === 'direct')
  assert.deepEqual([(await it.send('quick-live')).status, (await counts(it.rig))['queued']], [200, 5])
  for (let n = 0; n < 6; n++) (await it.at(`job-${n}`)).finish()
})

const PRIORITY: Partial<RouteConfig> = { allow: ['prefer', 'priority'] }
const LIMITS = { jobs: 20, bytes: 1 << 30, finished: 1 << 30 }

/** Sends requests of this priority until one is refused; says how many were taken. */
async function takenOf(it: SpillScene, priority: number, code: string): Promise<number> {
  for (let taken = 0; ; taken++) {
    const answer = await it.send('job', { headers: { ...ASYNC, 'spillway-priority': String(priority) } })
    if (answer.status === 202) continue
    assert.deepEqual([answer.status, answer.json()['code'], isJob(answer)], [503, code, false])
    assert.match(String(answer.headers['retry-after']), /^[1-9]\d?$/)
    return taken
  }
}

test('rule 13: while a queue fills up the least urgent are refused first, the most urgent only when it is full', async () => {
  await using it = await spillScene({ queue: { limits: LIMITS, shedFrom: 0.5 }, route: PRIORITY })
  await it.killServers()
  // (0.5 + 0.5 * cbrt(1/10)) * 20 = 14.6; of priority 4 it is 17.9, of 8 it is 19.7.
  assert.equal(await takenOf(it, 0, 'shed'), 14)
  assert.equal(await takenOf(it, 4, 'shed'), 3)
  assert.equal(await takenOf(it, 8, 'shed'), 2)
  assert.equal(await takenOf(it, 9, 'queue_full'), 1)
})

test('rule 13: status, results and events of jobs are never shed', async () => {
  await using it = await spillScene({ queue: { limits: LIMITS, shedFrom: 0 }, route: PRIORITY })
  await it.killServers()
  const [accepted] = await store(it, ['job'])
  while ((await it.send('job', { headers: { ...ASYNC, 'spillway-priority': '9' } })).status === 202);
  assert.equal(await takenOf(it, 0, 'shed'), 0)
  const self = it.rig.url + String(accepted?.headers.location)
  assert.deepEqual([(await ask(self)).status, (await ask(`${self}/result`)).status], [200, 202])
  assert.equal((await ask(self, { method: 'DELETE' })).status, 200)
})

test('rule 13: a route that allows no priority is as it was', async () => {
  await using it = await spillScene({ queue: { limits: LIMITS, shedFrom: 0.5 } })
  await it.killServers()
  assert.deepEqual(
    (await store(it, numbered('job', 21))).map(({ status }) => status),
    [...Array<number>(20).fill(202), 503],
  )
})
