/** The rig itself: its arithmetic, and that it can fail. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startOrigin } from '../../bench/arms.ts'
import { Clients } from '../../bench/direct/clients.ts'
import { idleTable, latencyTable } from '../../bench/direct/tables.ts'
import { findProgram, workFolder } from '../../bench/machine.ts'
import { metricSum } from '../../bench/metrics.ts'
import { parseOptions } from '../../bench/options.ts'
import type { QueueRun } from '../../bench/queue.ts'
import { selfTimes } from '../../bench/profile.ts'
import { filledIn } from '../../bench/run.ts'
import { median, queueTable, verdictText } from '../../bench/tables.ts'
import { isVoid, runWrk, type WrkResult } from '../../bench/wrk.ts'

const WRK: WrkResult = {
  requests: 100,
  durationUs: 1e6,
  bytes: 0,
  connectErrors: 0,
  readErrors: 0,
  writeErrors: 0,
  statusErrors: 0,
  timeouts: 0,
  p50Us: 1,
  p99Us: 2,
  maxUs: 3,
}

test('medians', () => {
  assert.equal(median([3, 1, 2]), 2)
  assert.equal(median([4, 1, 2, 3]), 2.5)
  assert.ok(Number.isNaN(median([])))
})

test('a run with any error is void', () => {
  assert.equal(isVoid(WRK), false)
  assert.equal(isVoid({ ...WRK, requests: 0 }), true)
  for (const name of ['connectErrors', 'readErrors', 'writeErrors', 'statusErrors', 'timeouts'] as const) {
    assert.equal(isVoid({ ...WRK, [name]: 1 }), true, name)
  }
})

test('void runs do not count, and a claim without figures does not hold', () => {
  const run = (what: QueueRun['what'], cpuUsEach: number, bad = false): QueueRun => ({
    what,
    round: 1,
    void: bad,
    count: 100,
    cpuUsEach,
    perSecond: 7000,
    syncsEach: 0.1,
    loopDelayP99Ms: 1,
    wrk: WRK,
  })
  const { verdicts } = queueTable([run('direct', 10), run('202', 25), run('202', 900, true), run('life', 90)])
  assert.deepEqual(
    verdicts.map(({ measured, holds }) => [measured, holds]),
    [
      [2.5, true],
      [9, false],
      [7000, true],
    ],
  )
  const none = queueTable([run('direct', 10, true)]).verdicts
  assert.ok(none.every(({ holds }) => !holds))
  assert.match(verdictText(none[0] as (typeof none)[0]), /^DOES NOT HOLD: .* \(measured –\)$/)
})

test('samples are summed by name and labels', () => {
  const text = '# TYPE a gauge\na{queue="w",status="x"} 2\na{queue="w",status="y"} 3\na{queue="v"} 5\nab 7\na_sum 9\n'
  assert.equal(metricSum(text, 'a'), 10)
  assert.equal(metricSum(text, 'a', 'queue="w"'), 5)
  assert.equal(metricSum(text, 'a', 'queue="w"', 'status="y"'), 3)
  assert.equal(metricSum(text, 'ab'), 7)
  assert.equal(metricSum(text, 'none'), 0)
})

test('self time is summed by function, idle time left out', () => {
  const node = (
    id: number,
    functionName: string,
  ): { id: number; callFrame: { functionName: string; url: string; lineNumber: number } } => ({
    id,
    callFrame: { functionName, url: '', lineNumber: 0 },
  })
  const profile = {
    nodes: [node(1, 'f'), node(2, 'g'), node(3, 'f'), node(4, '(idle)')],
    samples: [1, 2, 3, 4],
    timeDeltas: [1, 3, 1, 100],
  }
  assert.deepEqual(selfTimes(profile), [
    { name: 'g', micros: 3 },
    { name: 'f', micros: 2 },
  ])
})

test('options are checked', () => {
  assert.equal(parseOptions(['--only', 'queue', '--rounds', '2']).rounds, 2)
  assert.throws(() => parseOptions(['--only', 'nothing']), /--only takes direct, latency, idle, threads, queue/)
  assert.throws(() => parseOptions(['--seconds', '0']), /--seconds takes a whole number from 1/)
})

test('only what stands between the marks is replaced', () => {
  assert.equal(filledIn('a\n<!-- x -->\nold\n<!-- /x -->\nb', 'x', 'new'), 'a\n<!-- x -->\nnew\n<!-- /x -->\nb')
  assert.throws(() => filledIn('a', 'x', 'new'), /no place for "x"/)
})

const missing = ['wrk', 'nginx', 'taskset'].filter((name) => findProgram(name) === undefined)

test('canary: a load that meets a 404 is void, the same against a 200 is not', {
  skip: missing.length > 0 && `${missing} not installed`,
}, async () => {
  const folder = workFolder()
  const origin = await startOrigin(0, folder.path)
  const load = { core: 0, connections: 2, seconds: 1, method: 'GET', bodyBytes: 0 } as const
  try {
    assert.equal(isVoid(await runWrk({ ...load, url: `${origin.url}/32` })), false)
    assert.equal(isVoid(await runWrk({ ...load, url: `${origin.url}/missing` })), true)
  } finally {
    await origin.started.stop()
    folder.remove()
  }
})

test('canary: paced and held clients notice when they are not served', {
  skip: missing.length > 0 && `${missing} not installed`,
}, async () => {
  const folder = workFolder()
  const clients = new Clients({ loadCores: 0 })
  const origin = await startOrigin(0, folder.path)
  const pace = { perSecond: 200, seconds: 1, connections: 4 }
  try {
    const good = await clients.pace({ url: `${origin.url}/32`, ...pace })
    assert.deepEqual([good.due, good.answered], [200, 200])
    assert.ok(good.p50Ms > 0 && good.p50Ms <= good.p99Ms && good.p99Ms <= good.maxMs)
    const bad = await clients.pace({ url: `${origin.url}/missing`, ...pace })
    assert.deepEqual([bad.due, bad.answered], [200, 0])
    assert.equal(await clients.hold(`${origin.url}/32`, 40), 40)
    assert.equal(await clients.letGo(), 40)
    await clients.hold(`${origin.url}/32`, 3)
    await origin.started.stop()
    assert.equal(await clients.hold(`${origin.url}/32`, 5), 0)
    assert.equal(await clients.letGo(), 0)
  } finally {
    await clients.stop()
    await origin.started.stop()
    folder.remove()
  }
})

test('latency and idle connections: void runs do not count', () => {
  const latency = { arm: 'a', round: 1, perSecond: 100, cpu: 0.25, due: 9, answered: 9, p50Ms: 1, maxMs: 3 }
  const lines = latencyTable([
    { ...latency, void: false, p99Ms: 2 },
    { ...latency, void: true, p99Ms: 900 },
  ]).split('\n')
  assert.equal(lines[2], '| a | 100 | 1.00 | 2.00 | 3.0 | 25 | 1 (1 void) |')
  const idle = { arm: 'a', over: 'plain', round: 1, connections: 1024, rssBefore: 2 ** 20 } as const
  const rows = idleTable([
    { ...idle, void: false, rssIdle: 3 * 2 ** 20 },
    { ...idle, void: true, rssIdle: 900 * 2 ** 20 },
  ]).split('\n')
  assert.equal(rows[2], '| plain, a | 2.0 | 1 | 3 | 1 (1 void) |')
})
