import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMetrics } from './metrics.ts'
import { DURATION_BUCKETS, METRICS, metricsReference } from './names.ts'

test('counters render with HELP and TYPE once per name, labels sorted', () => {
  const metrics = createMetrics()
  metrics.counter('demo_total', 'How often', { b: '2', a: '1' }).inc()
  metrics.counter('demo_total', 'How often', { a: '3', b: '4' }).inc(5)
  assert.equal(
    metrics.render(),
    '# HELP demo_total How often\n# TYPE demo_total counter\ndemo_total{a="1",b="2"} 1\ndemo_total{a="3",b="4"} 5\n',
  )
})

test('a series is the same whatever order its labels are given in', () => {
  const metrics = createMetrics()
  assert.equal(metrics.counter('demo_total', '', { a: '1', b: '2' }), metrics.counter('demo_total', '', { b: '2', a: '1' }))
})

test('label values and help texts are escaped', () => {
  const metrics = createMetrics()
  metrics.counter('demo_total', 'a\\b\nc "quoted"', { path: 'say "hi"\\\n' }).inc()
  assert.equal(
    metrics.render(),
    '# HELP demo_total a\\\\b\\nc "quoted"\n# TYPE demo_total counter\ndemo_total{path="say \\"hi\\"\\\\\\n"} 1\n',
  )
})

test('a histogram counts cumulatively, bounds belong to their bucket', () => {
  const metrics = createMetrics()
  const histogram = metrics.histogram('demo_seconds', 'Time', { route: '/' })
  histogram.observe(0.0005)
  histogram.observe(0.0006)
  histogram.observe(61)
  const text = metrics.render()
  assert.match(text, /demo_seconds_bucket\{route="\/",le="0.0005"\} 1\n/)
  assert.match(text, /demo_seconds_bucket\{route="\/",le="0.001"\} 2\n/)
  assert.match(text, /demo_seconds_bucket\{route="\/",le="60"\} 2\n/)
  assert.match(text, /demo_seconds_bucket\{route="\/",le="\+Inf"\} 3\n/)
  assert.match(text, /demo_seconds_sum\{route="\/"\} 61.0011\n/)
  assert.match(text, /demo_seconds_count\{route="\/"\} 3\n/)
  assert.equal(text.match(/_bucket/g)?.length, DURATION_BUCKETS.length + 1)
})

test('gauges are read when scraped and several readers may feed one name', () => {
  const metrics = createMetrics()
  let value = 1
  metrics.gauge('demo', 'Now', () => [{ labels: { pool: 'a' }, value }])
  metrics.gauge('demo', 'Now', () => [{ labels: { pool: 'b' }, value: Number.POSITIVE_INFINITY }])
  value = 7
  assert.equal(metrics.render(), '# HELP demo Now\n# TYPE demo gauge\ndemo{pool="a"} 7\ndemo{pool="b"} +Inf\n')
})

test('the n-th label set is its own series, the n+1-th and later share `other` and are counted', () => {
  const metrics = createMetrics({ seriesMax: 3 })
  for (const path of ['1', '2', '3']) metrics.counter('demo_total', '', { path }).inc()
  assert.doesNotMatch(metrics.render(), /other/)
  metrics.counter('demo_total', '', { path: '4' }).inc(10)
  metrics.counter('demo_total', '', { path: '5' }).inc(10)
  metrics.counter('demo_total', '', { path: '2' }).inc()
  const text = metrics.render()
  assert.match(text, /demo_total\{path="other"\} 20\n/)
  assert.match(text, /demo_total\{path="2"\} 2\n/)
  assert.match(text, /spillway_metric_series_overflow_total\{name="demo_total"\} 2\n/)
  assert.equal(text.match(/^demo_total\{/gm)?.length, 4)
})

test('gauges are bounded in the same way', () => {
  const metrics = createMetrics({ seriesMax: 2 })
  metrics.gauge('demo', '', () => ['1', '2', '3', '4'].map((key) => ({ labels: { key }, value: 1 })))
  const text = metrics.render()
  assert.match(text, /demo\{key="other"\} 2\n/)
  assert.equal(text.match(/^demo\{/gm)?.length, 3)
})

test('what can only be a mistake in our code throws: names, a second type, a counter that shrinks', () => {
  const metrics = createMetrics()
  assert.throws(() => metrics.counter('1st', ''), /not a metric name/)
  assert.throws(() => metrics.counter('demo_total', '', { 'a-b': '' }), /not a label name/)
  assert.throws(() => metrics.counter('demo_total', '', { __name__: '' }), /not a label name/)
  metrics.counter('demo_total', '')
  assert.throws(() => metrics.histogram('demo_total', ''), /is a counter already/)
  assert.throws(() => metrics.histogram('demo_seconds', '', { le: '1' }), /label of its own/)
  assert.throws(() => metrics.histogram('spillway_requests_total', ''), /declared as a counter/)
  assert.throws(() => metrics.counter('demo_total', '').inc(-1), /only grows/)
  assert.throws(() => metrics.counter('demo_total', '').inc(Number.NaN), /only grows/)
})

test('known metrics take help and type from the registry', () => {
  const metrics = createMetrics()
  metrics.gauge('process_cpu_seconds_total', '', () => [{ value: 1.5 }])
  assert.equal(
    metrics.render(),
    `# HELP process_cpu_seconds_total ${METRICS.process_cpu_seconds_total.help}\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n`,
  )
})

test('the reference names every metric and explains every label', () => {
  const reference = metricsReference()
  for (const [name, spec] of Object.entries(METRICS)) {
    assert.ok(reference.includes(`| \`${name}\` | ${spec.type} |`), name)
    for (const label of spec.labels?.split(' ') ?? []) assert.match(reference, new RegExp(`^\\| \`${label}\` \\| .+ \\|$`, 'm'), label)
  }
})

test('a histogram has the bounds of its name', () => {
  const metrics = createMetrics()
  const dwell = metrics.histogram('spillway_job_end_seconds', '', { queue: 'q' })
  for (const seconds of [0.01, 4000, 90_000]) dwell.observe(seconds)
  const lines = metrics.render().split('\n')
  const bounds = lines.flatMap((line) => /le="([^"]+)"\} (\d+)/.exec(line)?.slice(1).join(' ') ?? [])
  assert.deepEqual([bounds.at(0), bounds.at(-3), bounds.at(-2), bounds.at(-1)], ['0.01 1', '14400 2', '86400 2', '+Inf 3'])
})

test('what bears the labels of somebody who is gone goes, in every family, and nothing else', () => {
  const metrics = createMetrics()
  metrics.counter('a_total', 'a', { pool: 'p', server: 'x' }).inc()
  metrics.counter('a_total', 'a', { pool: 'p', server: 'xy' }).inc()
  metrics.counter('a_total', 'a', { pool: 'q', server: 'x' }).inc()
  metrics.histogram('b_seconds', 'b', { outcome: 'ok', pool: 'p', server: 'x' }).observe(1)
  metrics.forget({ pool: 'p', server: 'x' })
  const text = metrics.render()
  assert.doesNotMatch(text, /pool="p",server="x"/)
  assert.match(text, /a_total\{pool="p",server="xy"\} 1\na_total\{pool="q",server="x"\} 1/)
})

test('what several have counted is rendered as if one had counted it, and stays counted when one of them is gone', () => {
  const [own, other] = [createMetrics(), createMetrics()]
  own.counter('a_total', 'a', { x: '1' }).inc(2)
  other.counter('a_total', 'a', { x: '1' }).inc(3)
  other.counter('a_total', 'a', { x: '2' }).inc(4)
  other.counter('only_there_total', 'b').inc()
  for (const each of [own, other]) each.histogram('h_seconds', 'h').observe(0.1)
  own.gauge('g', 'g', () => [{ value: 1 }])
  other.gauge('g', 'g', () => [{ value: 5 }])
  const both = own.renderWith([structuredClone(other.dump())])
  for (const line of ['a_total{x="1"} 5', 'a_total{x="2"} 4', 'only_there_total 1', 'h_seconds_count 2', 'g 6'])
    assert.ok(both.includes(`${line}\n`), line)
  assert.ok(own.render().includes('a_total{x="1"} 2\n'), 'its own is as it was')
  own.add(other.dump())
  const after = own.render()
  for (const line of ['a_total{x="1"} 5', 'a_total{x="2"} 4', 'h_seconds_count 2', 'g 1']) assert.ok(after.includes(`${line}\n`), line)
})

test('what others have counted is bounded like what is counted here', () => {
  const [own, other] = [createMetrics({ seriesMax: 2 }), createMetrics()]
  for (let n = 0; n < 5; n++) other.counter('a_total', 'a', { x: `"${n}` }).inc()
  own.add(other.dump())
  assert.ok(own.render().includes('a_total{x="other"} 3\n'))
})
