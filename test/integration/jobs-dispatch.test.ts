import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'node:test'
import type { StoredJob } from '../../src/ports/job-store.ts'
import { startJobsRig } from '../support/jobs-rig.ts'
import { testQueue } from '../support/test-config.ts'
import { until } from '../support/until.ts'

test('a job reaches the server as it was sent, with what tells the server that it is a job', async () => {
  await using rig = await startJobsRig()
  const body = Buffer.from([0, 255, 13, 10])
  const job = await rig.submit({ request: { method: 'PUT', target: '/a%2Fb?c=d', headers: ['Host', 'example.com', 'X-One', '1'], body } })
  const ended = await rig.ended(job.id)
  assert.equal(ended.status, 'succeeded')
  const [received] = rig.servers[0]!.received
  assert.ok(received)
  assert.deepEqual(
    [received.method, received.url, received.headers.host, received.headers['x-one']],
    ['PUT', '/a%2Fb?c=d', 'example.com', '1'],
  )
  assert.ok(received.body.equals(body))
  assert.equal(received.headers['spillway-job'], job.id)
  assert.equal(received.headers['spillway-attempt'], '1')
  assert.match(String(received.headers['spillway-fence']), /^\d+$/)
  assert.ok(Date.parse(String(received.headers['spillway-deadline'])) > job.submittedAt)
  assert.equal(Date.parse(String(received.headers['spillway-submitted-at'])), job.submittedAt)
  assert.match(
    String(received.headers['spillway-report']),
    new RegExp(`^http://127\\.0\\.0\\.1:${rig.port}/_spillway/reports/${job.id}\\.\\d+\\.[\\w-]{22}\\.[\\w-]{22}$`),
  )
  assert.equal(received.headers['idempotency-key'], job.id)
})

test("the client's own idempotency key goes on as it is", async () => {
  await using rig = await startJobsRig()
  const job = await rig.submit({
    request: { method: 'POST', target: '/', headers: ['Host', 'a', 'idempotency-key', '"k"'], body: Buffer.alloc(0) },
  })
  await rig.ended(job.id)
  assert.equal(rig.servers[0]!.received[0]!.headers['idempotency-key'], '"k"')
})

test('a burst of jobs runs once each, within the concurrency of each server, for few lease calls', async () => {
  await using rig = await startJobsRig({ servers: 3, queue: { concurrency: 4 } })
  const jobs = await Promise.all(Array.from({ length: 2000 }, () => rig.submit()))
  const burstCalls = rig.calls.lease
  assert.ok(burstCalls < 50, `${burstCalls} lease calls while 2000 jobs came in`)
  for (const job of jobs) assert.equal((await rig.ended(job.id)).status, 'succeeded')
  const ids = rig.servers.flatMap((server) => server.received.map((one) => one.headers['spillway-job']))
  assert.equal(ids.length, 2000)
  assert.equal(new Set(ids).size, 2000)
  for (const server of rig.servers) {
    assert.ok(server.inFlightMax <= 4, `${server.inFlightMax} at once`)
    assert.ok(server.received.length > 200, `${server.received.length} on one server`)
  }
  await until('all slots are free', () => rig.pool.servers.every((server) => server.inFlight === 0))
  assert.equal(rig.jobs.inFlight, 0)
})

test('an idle queue asks the store for nothing', async () => {
  await using rig = await startJobsRig({ servers: 2 })
  await rig.ended((await rig.submit()).id)
  await until('the slots are free', () => rig.pool.servers.every((server) => server.inFlight === 0))
  await sleep(50)
  const before = rig.calls.lease
  await sleep(500)
  assert.equal(rig.calls.lease, before)
})

test('jobs of one key run one at a time, in order, on one server', async () => {
  const running = new Map<string, number>()
  const order: string[] = []
  await using rig = await startJobsRig({
    servers: 3,
    handle: async (received, response) => {
      const key = received.url
      running.set(key, (running.get(key) ?? 0) + 1)
      assert.equal(running.get(key), 1, 'two jobs of one key at once')
      await sleep(2)
      order.push(`${key} ${received.body}`)
      running.set(key, 0)
      response.end()
    },
  })
  const jobs = []
  for (let n = 0; n < 20; n++) {
    for (const key of ['/a', '/b', '/c', '/d']) {
      jobs.push(
        await rig.submit({
          key,
          request: { method: 'POST', target: key, headers: ['Host', 'x'], body: Buffer.from(String(n).padStart(2, '0')) },
        }),
      )
    }
  }
  for (const job of jobs) await rig.ended(job.id)
  for (const key of ['/a', '/b', '/c', '/d']) {
    const ofKey = order.filter((line) => line.startsWith(key))
    assert.deepEqual(ofKey, [...ofKey].sort())
    assert.equal(ofKey.length, 20)
    assert.equal(rig.servers.filter((server) => server.received.some((one) => one.url === key)).length, 1)
  }
})

test('a server that is gone hands its jobs on: no attempt is counted for a refused connection, and its buckets move', async () => {
  await using rig = await startJobsRig({ servers: 2, pool: { health: { intervalMs: 60_000, timeoutMs: 500, fall: 3, rise: 1 } } })
  await rig.servers[0]!.kill()
  const jobs = await Promise.all(Array.from({ length: 50 }, () => rig.submit()))
  for (const job of jobs) {
    const ended = await rig.ended(job.id)
    assert.deepEqual([ended.status, ended.attempt], ['succeeded', 1])
  }
  assert.equal(rig.servers[1]!.received.length, 50)
  const moved = rig.events.filter((event) => event.type === 'buckets-moved')
  assert.equal(moved.length, 1)
  assert.equal(moved[0]!.cause, 'down')
  assert.deepEqual(moved[0]!.to, [rig.pool.servers[1]!.name])
  assert.ok(moved[0]!.moved > 80 && moved[0]!.moved < 176, `${moved[0]!.moved}`)
  assert.ok(moved[0]!.takenBack >= 1)
})

test('a connection that breaks counts as an attempt and is tried again', async () => {
  let times = 0
  await using rig = await startJobsRig({
    handle: (_, response) => {
      if (++times <= 2) response.destroy()
      else response.end('third')
    },
  })
  const ended = await rig.ended((await rig.submit()).id)
  assert.deepEqual([ended.status, ended.attempt], ['succeeded', 3])
  const failures = rig.events.filter((event) => event.type === 'attempt-failed')
  assert.deepEqual(
    failures.map((event) => [event.attempt, event.reason]),
    [
      [1, 'connection_reset'],
      [2, 'connection_reset'],
    ],
  )
})

test('a job out of attempts is a dead letter that keeps the last answer', async () => {
  await using rig = await startJobsRig({
    queue: { attempts: 3 },
    handle: (_, response) => void response.writeHead(500, { 'x-why': 'broken' }).end('no'),
  })
  const job = await rig.submit()
  const ended = await rig.ended(job.id)
  assert.deepEqual([ended.status, ended.attempt, ended.dead], ['failed', 3, 'attempts'])
  const read = await rig.jobs.read(job.id, 'result')
  assert.equal(read?.answer?.status, 500)
  assert.equal(Buffer.from(read!.answer!.body).toString(), 'no')
  assert.equal(rig.servers[0]!.received.length, 3)
  assert.equal(rig.events.filter((event) => event.type === 'job-dead').length, 1)
})

test('a busy server is left alone for as long as it says, and another one does its work without a key', async () => {
  await using rig = await startJobsRig({ servers: 2 })
  rig.servers[0]!.handle = (_, response) => void response.writeHead(503, { 'retry-after': '600' }).end()
  const jobs = await Promise.all(Array.from({ length: 40 }, () => rig.submit()))
  for (const job of jobs) assert.equal((await rig.ended(job.id)).attempt, 1)
  assert.ok(rig.servers[0]!.received.length <= 8, `${rig.servers[0]!.received.length} sent to the busy server`)
  assert.equal(rig.servers[1]!.received.length, 40)
  assert.equal(rig.pool.freeSlots(rig.pool.servers[0]!), 0)
})

test('a job that one server is too busy for is taken by the other at once', async () => {
  let times = 0
  await using rig = await startJobsRig({
    servers: 2,
    handle: (_, response) => {
      if (++times === 1) response.writeHead(503, { 'retry-after': '600' }).end()
      else response.end('done')
    },
  })
  const ended = await rig.ended((await rig.submit()).id)
  assert.deepEqual([ended.status, ended.attempt, ended.handOuts], ['succeeded', 1, 2])
})

test('a job with a key stays with its server, also while that is busy', async () => {
  let times = 0
  await using rig = await startJobsRig({
    servers: 2,
    handle: (_, response) => {
      if (++times === 1) response.writeHead(503, { 'retry-after': '1' }).end()
      else response.end('done')
    },
  })
  const ended = await rig.ended((await rig.submit({ key: 'k' })).id)
  assert.equal(ended.handOuts, 2)
  assert.deepEqual(rig.servers.map((server) => server.received.length).sort(), [0, 2])
})

test('a store that fails for a moment costs neither a job nor an attempt', async () => {
  await using rig = await startJobsRig()
  rig.failNext.lease = 2
  const first = await rig.submit()
  assert.equal((await rig.ended(first.id)).status, 'succeeded')
  rig.failNext.settle = 2
  const second = await rig.submit()
  const ended = await rig.ended(second.id)
  assert.deepEqual([ended.status, ended.attempt, ended.handOuts], ['succeeded', 1, 1])
  assert.equal(rig.servers[0]!.received.length, 2)
  assert.ok(rig.events.some((event) => event.type === 'warning'))
})

test('fields that steer the gateway are obeyed and are not in the result', async () => {
  let times = 0
  await using rig = await startJobsRig({
    handle: (_, response) => {
      if (++times === 1) response.writeHead(422, { 'spillway-retry': '10ms' }).end('not yet')
      else response.writeHead(422, { 'spillway-retry': 'never', 'spillway-other': 'x', 'x-kept': 'y' }).end('no')
    },
  })
  const job = await rig.submit()
  const ended = await rig.ended(job.id)
  assert.deepEqual([ended.status, ended.attempt, ended.dead], ['failed', 2, undefined])
  const read = await rig.jobs.read(job.id, 'result')
  const names = read!.answer!.headers.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
  assert.ok(names.includes('x-kept') && !names.some((name) => name.startsWith('spillway-')), names.join())
})

test('an attempt that takes too long is broken off and tried again', async () => {
  let times = 0
  await using rig = await startJobsRig({
    queue: { timeoutMs: 200 },
    handle: (_, response) => {
      if (++times > 1) response.end('quick')
    },
  })
  const ended = await rig.ended((await rig.submit()).id)
  assert.deepEqual([ended.status, ended.attempt], ['succeeded', 2])
})

test('a job that is sent once ends as outcome_unknown when its connection breaks', async () => {
  await using rig = await startJobsRig({ handle: (_, response) => void response.destroy() })
  const ended = await rig.ended((await rig.submit({ sendOnce: true })).id)
  assert.deepEqual([ended.status, ended.dead, ended.error?.code], ['failed', 'outcome_unknown', 'outcome_unknown'])
  assert.equal(rig.servers[0]!.received.length, 1)
})

test('a cancelled job is broken off, nothing is settled, and its slot is free', async () => {
  await using rig = await startJobsRig({ handle: () => undefined })
  const job = await rig.submit()
  await until('it runs', () => rig.servers[0]!.inFlight === 1)
  const outcome = await rig.jobs.cancel(job.id, false)
  assert.equal(outcome.kind, 'done')
  await until('the connection is closed', () => rig.servers[0]!.inFlight === 0)
  await until('the slot is free', () => rig.pool.servers[0]!.inFlight === 0)
  assert.equal((await rig.status(job.id)).status, 'cancelled')
  assert.equal(rig.calls.settle, 0)
  assert.equal((await rig.jobs.cancel(job.id, false)).kind, 'unchanged')
})

test('an attempt on a server that stays down is broken off after the grace and goes to another', async () => {
  await using rig = await startJobsRig({
    servers: 3,
    pool: { health: { path: '/healthz', intervalMs: 50, timeoutMs: 500, fall: 2, rise: 1 }, failoverGraceMs: 300 },
    handle: () => undefined,
  })
  const job = await rig.submit()
  await until('it runs', () => rig.servers.some((server) => server.inFlight === 1))
  const sick = rig.servers.find((server) => server.inFlight === 1)!
  for (const server of rig.servers) server.handle = (_, response) => void response.end('other')
  sick.healthStatus = 500
  const ended = await rig.ended(job.id)
  assert.deepEqual([ended.status, ended.attempt], ['succeeded', 2])
  const failures = rig.events.filter((event) => event.type === 'attempt-failed')
  assert.deepEqual(
    failures.map((event) => event.reason),
    ['failover'],
  )
})

test('flapping checks break nothing off', async () => {
  let answer: (() => void) | undefined
  await using rig = await startJobsRig({
    servers: 3,
    pool: { health: { path: '/healthz', intervalMs: 20, timeoutMs: 500, fall: 1, rise: 1 }, failoverGraceMs: 1000 },
    handle: (_, response) => {
      answer = () => void response.end('after all')
    },
  })
  const job = await rig.submit()
  await until('it runs', () => answer !== undefined)
  const flapping = rig.servers.find((server) => server.inFlight === 1)!
  const flaps = (): number => rig.events.filter((event) => event.type === 'server-down').length
  for (let n = 1; n <= 12; n++) {
    flapping.healthStatus = 500
    await until('it is down', () => flaps() >= n)
    flapping.healthStatus = 200
    await until('it is up', () => rig.pool.upServers().length === 3)
    await sleep(100)
  }
  answer?.()
  const ended = await rig.ended(job.id)
  assert.deepEqual([ended.status, ended.attempt], ['succeeded', 1])
})

test('when most servers look bad nothing is broken off', async () => {
  const answers: (() => void)[] = []
  await using rig = await startJobsRig({
    servers: 3,
    pool: { health: { path: '/healthz', intervalMs: 20, timeoutMs: 500, fall: 1, rise: 1 }, failoverGraceMs: 50 },
    handle: (_, response) => void answers.push(() => void response.end('fine')),
  })
  const job = await rig.submit()
  await until('it runs', () => answers.length === 1)
  for (const server of rig.servers) server.healthStatus = 500
  await until('all are down', () => rig.pool.upServers().length === 0)
  await sleep(300)
  assert.equal((await rig.status(job.id)).status, 'running')
  answers[0]!()
  assert.deepEqual([(await rig.ended(job.id)).status, answers.length], ['succeeded', 1])
})

test('draining lets attempts end, and hands back uncounted what does not', async () => {
  const answers: (() => void)[] = []
  const rig = await startJobsRig({ queue: { concurrency: 2 }, handle: (_, response) => void answers.push(() => void response.end('ok')) })
  await using _ = rig
  const jobs = [await rig.submit(), await rig.submit({ sendOnce: true }), await rig.submit()]
  await until('two run', () => answers.length === 2)
  const drained = rig.jobs.drain(300)
  assert.ok(rig.jobs.closing.aborted)
  await drained
  const after = await Promise.all(jobs.map((job) => rig.status(job.id)))
  assert.deepEqual(
    after.map((job) => [job.status, job.dead]),
    [
      ['queued', undefined],
      ['failed', 'outcome_unknown'],
      ['queued', undefined],
    ],
  )
  assert.equal(after[0]!.attempt, 0)
  assert.equal(rig.pool.servers[0]!.inFlight, 0)
  assert.equal(rig.servers[0]!.received.length, 2)
})

test('progress is taken from the attempt that runs, and from nobody else', async () => {
  const answers: (() => void)[] = []
  await using rig = await startJobsRig({ handle: (_, response) => void answers.push(() => void response.end('ok')) })
  const job = await rig.submit()
  await until('it runs', () => answers.length === 1)
  const address = String(rig.servers[0]!.received[0]!.headers['spillway-report']).split('/').at(-1) as string
  const report = async (changed: string, progress: string): Promise<string> => {
    const work = await rig.jobs.reports.find(changed)
    return work === undefined ? 'unknown' : (await rig.jobs.reports.progress(work.ref, progress)).kind
  }
  const parts = address.split('.')
  for (const at of parts.keys()) {
    const wrong = parts.with(at, `${parts[at]?.startsWith('1') === true ? 2 : 1}${parts[at]?.slice(1)}`).join('.')
    assert.equal(await report(wrong, '{"done":1}'), 'unknown', `part ${at} is another`)
  }
  assert.equal(await report(address, '{"done":1}'), 'done')
  assert.equal((await rig.status(job.id)).progress, '{"done":1}')
  answers[0]!()
  await rig.ended(job.id)
  assert.equal(await report(address, '{"done":2}'), 'over')
})

test('a wait ends with the job, or when its time is up, or when its caller leaves', async () => {
  const answers: (() => void)[] = []
  await using rig = await startJobsRig({ handle: (_, response) => void answers.push(() => void response.end('answer')) })
  const job = await rig.submit()
  const leave = new AbortController()
  const long = rig.jobs.waitEnd(job.id, 60_000)
  const left = rig.jobs.waitEnd(job.id, 60_000, { signal: leave.signal })
  assert.equal(await rig.jobs.waitEnd(job.id, 1), undefined)
  leave.abort()
  assert.equal(await left, undefined)
  await until('it runs', () => answers.length === 1)
  answers[0]!()
  const ended = await long
  assert.equal(ended?.job.status, 'succeeded')
  assert.equal(Buffer.from(ended!.answer!.body).toString(), 'answer')
  const late = await rig.jobs.waitEnd(job.id, 60_000)
  assert.equal(late?.job.status, 'succeeded')
  const stored = await rig.jobs.read(job.id, 'result')
  assert.equal(Buffer.from(stored!.answer!.body).toString(), 'answer')
  assert.equal(await rig.jobs.waitEnd('00000000000', 60_000), undefined)
  assert.equal(rig.jobs.watchers, 0)
})

test('a delayed job runs when it is due, an expired one not at all', async () => {
  await using rig = await startJobsRig()
  const delayed = await rig.submit({ delayMs: 100 })
  assert.equal(delayed.status, 'queued')
  const ended = await rig.ended(delayed.id)
  assert.ok((ended.startedAt as number) >= delayed.submittedAt + 100)
  await rig.servers[0]!.kill()
  await until('it is down', () => rig.pool.upServers().length === 0)
  const expiring = await rig.submit({ expireAfterMs: 50 })
  assert.deepEqual([(await rig.ended(expiring.id)).status, rig.servers[0]!.received.length], ['expired', 1])
})

test('a server that came back is given its share step by step', async () => {
  await using rig = await startJobsRig({
    queue: { concurrency: 10 },
    pool: { slowStartMs: 2000, health: { intervalMs: 20, timeoutMs: 500, fall: 1, rise: 1 } },
    handle: () => undefined,
  })
  const server = rig.servers[0]!
  await server.kill()
  await until('it is down', () => rig.pool.upServers().length === 0)
  for (let n = 0; n < 20; n++) await rig.submit()
  await server.revive()
  await until('it got its first job', () => server.inFlight > 0)
  const { upSince } = rig.pool.servers[0]!
  while (server.inFlight < 10) {
    const allowed = Math.floor((performance.now() - upSince) / 200) + 1
    assert.ok(server.inFlight <= allowed, `${server.inFlight} in flight, ${allowed} allowed`)
    await sleep(20)
  }
  assert.equal(server.inFlight, 10)
})

test('a job that is moved to another queue, or sent again there, lets the next of its key go at once', async () => {
  let status = 500
  const queues = [
    testQueue({ name: 'work', onUnauthorized: 'hold', backoff: { baseMs: 3_600_000, maxMs: 3_600_000 } }),
    testQueue({ name: 'other' }),
  ]
  await using rig = await startJobsRig({ config: { queues }, handle: (_, response) => void response.writeHead(status).end() })
  const inTheWay = async (key: string, is: string): Promise<readonly StoredJob[]> => {
    const first = await rig.submit({ key })
    await until(`it is ${is}`, async () => (await rig.status(first.id)).status === is)
    return [first, await rig.submit({ key })]
  }
  const [moved, next] = await inTheWay('a', 'retrying')
  status = 401
  const [held, last] = await inTheWay('b', 'failed')
  status = 200
  await rig.jobs.queues.command({ kind: 'move', id: moved!.id, queue: 'other' })
  assert.equal((await rig.ended(next!.id)).status, 'succeeded')
  await rig.jobs.queues.command({ kind: 'redrive', id: held!.id, queue: 'other' })
  assert.equal((await rig.ended(last!.id)).status, 'succeeded')
})
