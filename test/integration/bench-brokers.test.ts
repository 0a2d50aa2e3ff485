/** The rig of the broker comparison: what it counts, that a broker which breaks its promise voids the run, and that every broker which is there can run. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { benchBrokers, type BrokerRun } from '../../bench/brokers.ts'
import { ARMS, type ArmName, BROKER_NAMES } from '../../bench/brokers/arms.ts'
import type { BrokerClient, ConsumerEvents } from '../../bench/brokers/broker.ts'
import { areClientsInstalled } from '../../bench/brokers/install.ts'
import { BODY_BYTES, bodyBytes, bodyText, jobOf } from '../../bench/brokers/job-body.ts'
import { JobBook } from '../../bench/brokers/job-book.ts'
import {
  type Bench,
  bringTo,
  type Measured,
  measureLatency,
  measureLives,
  measureSubmits,
  percentile,
} from '../../bench/brokers/measure.ts'
import { brokersTable } from '../../bench/brokers/table.ts'
import { parseOptions } from '../../bench/options.ts'

const SECONDS = 0.1

/** Where a broken broker breaks its promise. */
interface Breaks {
  readonly publish?: (jobs: readonly number[]) => Promise<void>
  /** What a consumer is given instead of a batch. */
  readonly started?: (jobs: readonly number[]) => readonly number[]
  /** How many are said to be settled. */
  readonly settled?: (count: number) => number
}

/** A queue in this process that keeps its promises, but for `breaks`. */
function brokerThat(breaks: Breaks = {}): BrokerClient {
  let waiting: number[] = []
  let consumer: ConsumerEvents | undefined
  const handOut = (): void => {
    if (consumer === undefined || waiting.length === 0) return
    const jobs = waiting
    waiting = []
    consumer.started(breaks.started?.(jobs) ?? jobs)
    consumer.settled(breaks.settled?.(jobs.length) ?? jobs.length)
  }
  return {
    batch: 10,
    publish: async (jobs) => {
      await breaks.publish?.(jobs)
      waiting.push(...jobs)
      setImmediate(handOut)
      await new Promise((resolve) => setImmediate(resolve))
    },
    consume: async (events) => {
      consumer = events
      setImmediate(handOut)
      return { stop: async () => void (consumer = undefined) }
    },
    depth: async () => waiting.length,
    purge: async () => void (waiting = []),
    close: async () => undefined,
  }
}

function benchOf(client: BrokerClient): Bench {
  return { client, book: new JobBook(), cpu: () => ({ broker: 0, client: 0 }), patienceMs: 100 }
}

/** Changes the first batch only. */
function once(change: (jobs: readonly number[]) => readonly number[]): (jobs: readonly number[]) => readonly number[] {
  let done = false
  return (jobs) => {
    if (done) return jobs
    done = true
    return change(jobs)
  }
}

function assertVoid({ faults }: Measured, why: RegExp): void {
  assert.match(faults.join('; '), why)
}

test('a broker that keeps its promise has no faults, in any measurement', async () => {
  const bench = benchOf(brokerThat())
  const submits = await measureSubmits(bench, SECONDS)
  assert.deepEqual(await bringTo(bench, 25), [])
  assert.equal(bench.book.waiting, 25)
  assert.deepEqual(await bringTo(bench, 0), [])
  const lives = await measureLives(bench, SECONDS)
  const latency = await measureLatency(bench, SECONDS, 1000)
  for (const { faults, jobs } of [submits, lives, latency]) {
    assert.deepEqual(faults, [])
    assert.ok(jobs > 0)
  }
  assert.equal(latency.jobs, 600, 'a lead-in of half a second, and then the tenth')
})

describe('canary: void is a run in which', () => {
  test('a job is lost', async () => {
    const client = brokerThat()
    const losing = { ...client, publish: (jobs: readonly number[]) => client.publish(jobs.slice(1)) }
    assertVoid(await measureSubmits(benchOf(losing), SECONDS), /the broker holds \d+ jobs, not \d+: some are lost/)
    await client.purge?.()
    assertVoid(await measureLives(benchOf(losing), SECONDS), /lost/)
    assertVoid(await measureLatency(benchOf(losing), SECONDS, 1000), /lost/)
  })

  test('a job is settled that nobody was given', async () => {
    const client = brokerThat({ started: once((jobs) => jobs.slice(1)) })
    assertVoid(await measureLives(benchOf(client), SECONDS), /^1 settled and never came$/)
  })

  test('a job comes twice', async () => {
    const client = brokerThat({ started: once((jobs) => [...jobs, jobs[0] as number]) })
    assertVoid(await measureLives(benchOf(client), SECONDS), /^1 came twice$/)
  })

  test('a job comes that was purged before', async () => {
    const client = brokerThat()
    const bench = benchOf(client)
    await measureSubmits(bench, SECONDS)
    // Said to be purged, but it is not.
    bench.book.purged()
    assertVoid(await measureLives(bench, SECONDS), /came twice/)
  })

  test('a body is not as it was sent', async () => {
    const client = brokerThat({ started: once((jobs) => [Number.NaN, ...jobs.slice(1)]) })
    assertVoid(await measureLives(benchOf(client), SECONDS), /1 came and were never sent, or not as they were sent/)
  })

  test('a publish is not confirmed', async () => {
    let calls = 0
    const silent = brokerThat({ publish: () => (++calls === 3 ? new Promise(() => undefined) : Promise.resolve()) })
    assertVoid(await measureSubmits(benchOf(silent), SECONDS), /^10 published and not confirmed$/)
  })

  test('a publish fails', async () => {
    const failing = brokerThat({ publish: () => Promise.reject(new Error('queue full')) })
    for (const measure of [measureSubmits(benchOf(failing), SECONDS), measureLives(benchOf(failing), SECONDS)]) {
      assertVoid(await measure, /publish: queue full/)
    }
    assertVoid(await measureLatency(benchOf(failing), SECONDS, 1000), /publish: queue full/)
  })

  test('a job is not settled', async () => {
    const client = brokerThat({ settled: (count) => count - 1 })
    assertVoid(await measureLives(benchOf(client), SECONDS), /were not settled/)
  })

  test('a consumer fails', async () => {
    const client = brokerThat()
    const failing = {
      ...client,
      consume: (events: ConsumerEvents) => {
        events.failed(new Error('connection lost'))
        return client.consume(events)
      },
    }
    assertVoid(await measureLives(benchOf(failing), SECONDS), /consume: connection lost/)
  })
})

test('a fault voids its own run, not the next one', async () => {
  const bench = benchOf(brokerThat({ started: once((jobs) => [...jobs, jobs[0] as number]) }))
  assertVoid(await measureLives(bench, SECONDS), /came twice/)
  assert.deepEqual((await measureLives(bench, SECONDS)).faults, [])
})

test('a job is timed from when it was to be sent, also when the broker kept it from being sent', async () => {
  // The hundredth batch fills the window. All are held until the schedule is over, and whatever came behind them was sent late.
  const released = Promise.withResolvers<void>()
  let batches = 0
  const client = brokerThat({
    publish: async () => {
      if (++batches === 100) setTimeout(released.resolve, 1000)
      await released.promise
    },
  })
  const { p50Ms, faults } = await measureLatency({ ...benchOf(client), patienceMs: 5000 }, SECONDS, 2000)
  assert.deepEqual(faults, [])
  assert.ok((p50Ms as number) > 100, `a median of ${p50Ms} ms hides the wait`)
})

test('bodies carry their number', () => {
  for (const job of [0, 7, 999_999_999_999]) {
    assert.equal(bodyText(job).length, BODY_BYTES)
    assert.equal(bodyBytes(job).toString(), bodyText(job))
    assert.equal(jobOf(bodyText(job)), job)
    assert.equal(jobOf(bodyBytes(job)), job)
  }
  assert.ok(Number.isNaN(jobOf(bodyText(1).slice(1))))
  assert.ok(Number.isNaN(jobOf(`x${bodyText(1).slice(1)}`)))
})

test('percentiles', () => {
  const sorted = Float64Array.from({ length: 100 }, (_, i) => i)
  assert.equal(percentile(sorted, 0.5), 50)
  assert.equal(percentile(sorted, 0.99), 99)
  assert.ok(Number.isNaN(percentile(new Float64Array(), 0.5)))
})

describe('the verdicts', () => {
  const run = (arm: ArmName, what: BrokerRun['what'], figures: Partial<BrokerRun>): BrokerRun => {
    const nothing = { round: 1, void: false, jobs: 1, perSecond: 0, brokerCpuUsEach: 1, clientCpuUsEach: 1, faults: [] }
    return { arm, what, ...nothing, ...figures }
  }
  const of = (runs: readonly BrokerRun[]): [string, number, boolean][] =>
    brokersTable(runs).verdicts.map(({ claim, measured, holds }) => [claim, measured, holds])

  test('compare with the best of the others, and void runs do not count', () => {
    const runs = [
      run('bullmq', 'lives', { perSecond: 100 }),
      run('rabbitmq', 'lives', { perSecond: 300 }),
      run('rabbitmq', 'lives', { perSecond: 9000, void: true }),
      run('spillway', 'lives', { perSecond: 600 }),
      run('bullmq', 'latency', { p99Ms: 4 }),
      run('rabbitmq', 'latency', { p99Ms: 10 }),
      run('spillway', 'latency', { p99Ms: 5 }),
    ]
    const [lives, latency] = of(runs)
    assert.deepEqual(lives, ['whole lives/s: at least 2 × the best of the others, rabbitmq', 2, true])
    assert.deepEqual(latency?.slice(1), [1.25, false])
    assert.match(latency?.[0] as string, /bullmq/)
  })

  test('hold the engine to its limits, and do not hold without figures', () => {
    const figures = of([
      run('engine', 'submits', { perSecond: 80_000 }),
      run('engine', 'lives', { perSecond: 34_999 }),
      run('engine-1m', 'submits', { perSecond: 90_000, void: true }),
    ])
    assert.deepEqual(
      figures.map(([, , holds]) => holds),
      [true, false, false, false],
    )
  })
})

test('options are checked', () => {
  assert.deepEqual(parseOptions(['--brokers', 'engine,rabbitmq']).brokers, ['engine', 'rabbitmq'])
  assert.throws(() => parseOptions(['--brokers', 'kafka']), /--brokers takes engine, engine-1m, rabbitmq/)
  assert.throws(() => parseOptions(['--proxy-core', 'x']), /--proxy-core takes the numbers of cores/)
})

function whyNot(arm: ArmName): string | false {
  const { missing, clientPackage } = ARMS[arm]
  return (
    missing() ??
    (clientPackage !== undefined && !areClientsInstalled() && 'the clients are not installed (npm run bench -- --only brokers)')
  )
}

for (const arm of ['engine', ...BROKER_NAMES] as const) {
  test(`${arm} keeps its promise in a short run of everything`, { skip: whyNot(arm) }, async () => {
    const lines: string[] = []
    const options = {
      ...parseOptions(['--brokers', arm, '--proxy-core', '0', '--load-core', '0', '--rounds', '1']),
      seconds: SECONDS,
      warmUpSeconds: SECONDS,
      say: (line: string) => void lines.push(line),
    }
    const runs = await benchBrokers(options)
    const whats = arm === 'engine' ? ['submits', 'lives'] : ['submits', 'lives', 'latency']
    assert.deepEqual(
      runs.map(({ what, void: isVoid }) => [what, isVoid]),
      whats.map((what) => [what, false]),
      lines.join('\n'),
    )
  })
}
