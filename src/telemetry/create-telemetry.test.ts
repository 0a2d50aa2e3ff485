import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { systemClock } from '../ports/system.ts'
import { createTelemetry } from './create-telemetry.ts'
import { METRICS } from './names.ts'
import { storeTelemetry } from './store-events.ts'
import type { AccessLine, TryLine, TunnelLine } from './telemetry.ts'

const call: AccessLine = {
  at: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  peer: '127.0.0.1',
  method: 'POST',
  path: '/say "hi"',
  route: 'POST /reports',
  mode: 'queue',
  status: 202,
  tookMs: 1.23456,
  bytesIn: 200,
  bytesOut: 300,
  job: 'j1',
  end: 'accepted',
  secure: true,
  requestId: 'r-1',
  tries: [{ server: 'a:1', atMs: 0.5, outcome: 'answered', status: 200, reused: false, connectMs: 0.25, bytesUp: 1, bytesDown: 2 }],
}

const tunnel: TunnelLine = {
  ...{ at: call.at, peer: '127.0.0.1', path: '/chat', route: '/*', pool: 'api', server: 'a:1' },
  ...{ tookMs: 3_599_000, bytesIn: 5, bytesOut: 6, why: 'idle' },
}

test('json: one object per event with time, level, type and its fields', async () => {
  const lines: string[] = []
  const telemetry = createTelemetry({ format: 'json', access: 'off', write: (line) => lines.push(line), now: () => 0 })
  telemetry.event({ type: 'server-down', pool: 'api', server: 'a:1', reason: 'connection refused' })
  await telemetry.close()
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [{ time: '1970-01-01T00:00:00.000Z', level: 'warn', type: 'server-down', pool: 'api', server: 'a:1', reason: 'connection refused' }],
  )
})

test('text: close prints what still waits', async () => {
  const lines: string[] = []
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: (line) => lines.push(line) })
  telemetry.event({ type: 'server-down', pool: 'api', server: 'a:1', reason: 'connection refused' })
  await telemetry.close()
  assert.deepEqual(lines, ['a:1 down: connection refused'])
})

test('the n-th event of a type in a second is printed, the n+1-th only counted, and that is said later', async () => {
  const lines: string[] = []
  let now = 0
  const telemetry = createTelemetry({
    format: 'text',
    access: 'off',
    write: (line) => lines.push(line),
    now: () => now,
    eventsPerSecond: 3,
  })
  for (let i = 0; i < 5; i++) telemetry.event({ type: 'warning', message: `no ${i}` })
  telemetry.event({ type: 'stopped' })
  assert.deepEqual(lines, ['warning: no 0', 'warning: no 1', 'warning: no 2', 'stopped'])
  now = 1000
  telemetry.event({ type: 'warning', message: 'next' })
  assert.deepEqual(lines.slice(4), ['warning: 2 more events of type warning came within a second and were only counted', 'warning: next'])
  assert.match(telemetry.metrics.render(), /spillway_events_suppressed_total\{type="warning"\} 2\n/)
  assert.match(telemetry.metrics.render(), /spillway_events_total\{type="warning"\} 6\n/)
  now = -5000
  telemetry.event({ type: 'warning', message: 'the clock jumped back' })
  assert.equal(lines.at(-1), 'warning: the clock jumped back')
  await telemetry.close()
})

test('access and attempt lines are JSON objects in a file', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'spillway-access-'))
  const file = path.join(folder, 'access.log')
  const telemetry = createTelemetry({ format: 'json', access: file, write: () => {} })
  assert.equal(telemetry.accessLog, true)
  telemetry.access(call)
  telemetry.attempt({
    at: call.at,
    pool: 'api',
    server: 'a:1',
    route: 'r',
    job: 'j1',
    attempt: 2,
    outcome: 'retry',
    status: 500,
    tookMs: 3,
  })
  await telemetry.close()
  const time = '2026-01-02T03:04:05.006Z'
  const { at: _, ...fields } = call
  assert.deepEqual(
    readFileSync(file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
    [
      { time, type: 'access', ...fields, tookMs: 1.235 },
      { time, type: 'attempt', pool: 'api', server: 'a:1', route: 'r', job: 'j1', attempt: 2, outcome: 'retry', status: 500, tookMs: 3 },
    ],
  )
  rmSync(folder, { recursive: true })
})

test('access, attempt and tunnel lines for people: one line each, whatever a client wrote', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'spillway-access-'))
  const file = path.join(folder, 'access.log')
  const telemetry = createTelemetry({ format: 'json', access: file, accessFormat: 'text', write: () => {} })
  const { tries: _, ...plain } = call
  telemetry.access(call)
  telemetry.access({
    ...plain,
    path: '/a\n2026 ok',
    tookMs: 2345,
    pool: 'api',
    server: 'b:2',
    client: '10.0.0.9',
    waitMs: 12.34,
    error: 'no_server',
  })
  telemetry.access({
    ...plain,
    tries: [{ ...(call.tries?.[0] as TryLine), outcome: 'connection_reset', status: undefined, tookMs: 3 }, ...(call.tries ?? [])],
  })
  telemetry.access({
    ...plain,
    method: '',
    path: '',
    route: '',
    mode: '',
    status: 400,
    end: 'refused',
    error: 'bad_request',
    job: undefined,
  })
  telemetry.attempt({
    at: call.at,
    pool: 'api',
    server: 'a:1',
    route: '/r',
    job: 'j1',
    attempt: 2,
    outcome: 'retry',
    status: 500,
    tookMs: 3,
  })
  telemetry.tunnel(tunnel)
  await telemetry.close()
  const time = '2026-01-02T03:04:05.006Z'
  assert.deepEqual(readFileSync(file, 'utf8').trimEnd().split('\n'), [
    `${time} 127.0.0.1 POST "/say \\"hi\\"" 202 accepted 1.2ms in 200 out 300 route "POST /reports" queue job j1 tls id r-1`,
    `${time} 127.0.0.1 POST "/a\\n2026 ok" 202 accepted 2.3s in 200 out 300 route "POST /reports" queue pool api server b:2 client 10.0.0.9 job j1 error no_server waited 12.3ms tls id r-1`,
    `${time} 127.0.0.1 POST "/say \\"hi\\"" 202 accepted 1.2ms in 200 out 300 route "POST /reports" queue job j1 tries a:1 connection_reset 3ms, a:1 200 tls id r-1`,
    `${time} 127.0.0.1 - 400 refused 1.2ms in 200 out 300 error bad_request tls id r-1`,
    `${time} attempt 2 retry 500 3ms route /r pool api server a:1 job j1`,
    `${time} 127.0.0.1 tunnel /chat over (idle) 60min in 5 out 6 route /* pool api server a:1`,
  ])
  rmSync(folder, { recursive: true })
})

test('a tunnel that is over is one JSON object', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'spillway-access-'))
  const file = path.join(folder, 'access.log')
  const telemetry = createTelemetry({ format: 'text', access: file, write: () => {} })
  telemetry.tunnel({ ...tunnel, client: '10.0.0.9', requestId: 'r', traceId: 't' })
  await telemetry.close()
  const { at: _, ...fields } = tunnel
  const more = { time: '2026-01-02T03:04:05.006Z', type: 'tunnel', client: '10.0.0.9', requestId: 'r', traceId: 't' }
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), { ...more, ...fields })
  rmSync(folder, { recursive: true })
})

test('lines that do not fit are counted', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'spillway-access-'))
  const telemetry = createTelemetry({ format: 'json', access: path.join(folder, 'access.log'), write: () => {}, bufferedMax: 10 })
  telemetry.access(call)
  assert.match(telemetry.metrics.render(), /spillway_access_lines_dropped_total 1\n/)
  await telemetry.close()
  rmSync(folder, { recursive: true })
})

test('access off: callers need not build lines', async () => {
  const telemetry = createTelemetry({ format: 'json', access: 'off', write: () => {} })
  assert.equal(telemetry.accessLog, false)
  telemetry.access(call)
  await telemetry.close()
})

test('process metrics are there and make sense', async () => {
  const telemetry = createTelemetry({ format: 'json', access: 'off', write: () => {}, version: '1.2.3' })
  const text = telemetry.metrics.render()
  const value = (name: string): number => Number(new RegExp(`^${name}(?:\\{.*\\})? (.+)$`, 'm').exec(text)?.[1])
  assert.ok(value('process_resident_memory_bytes') > 1e6)
  assert.ok(value('process_cpu_seconds_total') > 0)
  assert.ok(value('process_open_fds') >= 3)
  assert.ok(value('process_start_time_seconds') > 1.7e9)
  assert.ok(value('nodejs_heap_size_used_bytes') <= value('nodejs_heap_size_total_bytes'))
  assert.match(text, /spillway_build_info\{node="24\.[^"]+",version="1\.2\.3"\} 1\n/)
  assert.match(text, /spillway_event_loop_delay_seconds\{quantile="0.99"\} /)
  await telemetry.close()
})

test('a stall of the loop shows in its delay', async () => {
  const telemetry = createTelemetry({ format: 'json', access: 'off', write: () => {} })
  const turns = (count: number): Promise<void> =>
    new Promise((resolve) => {
      let left = count
      const timer = setInterval(() => {
        if (--left === 0) {
          clearInterval(timer)
          resolve()
        }
      }, 12)
    })
  await turns(3)
  const until = performance.now() + 80
  while (performance.now() < until);
  await turns(3)
  const delay = Number(/spillway_event_loop_delay_seconds\{quantile="1"\} (.+)/.exec(telemetry.metrics.render())?.[1])
  assert.ok(delay >= 0.06, `maximum delay ${delay}`)
  await telemetry.close()
})

test('what the engine tells becomes metrics and events', async () => {
  const lines: string[] = []
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: (line) => lines.push(line) })
  let now = 0
  const events = storeTelemetry(telemetry, { ...systemClock, monotonic: () => now })
  events.onSync(2, 50)
  events.onSync(700, 3)
  events.onCorrupt('job j1: checksum')
  const text = telemetry.metrics.render()
  assert.match(text, /spillway_store_syncs_total 2\n/)
  assert.match(text, /spillway_store_operations_total 53\n/)
  assert.match(text, /spillway_store_sync_seconds_count 2\n/)
  assert.match(text, /spillway_store_sync_operations_bucket\{le="2"\} 0\n.*\n?.*le="5"\} 1\n/)
  assert.deepEqual(events.recentSyncs(), { count: 2, meanMs: 351, worstMs: 700 })
  now = 30_000
  events.onSync(10, 1)
  assert.deepEqual(events.recentSyncs(), { count: 3, meanMs: 712 / 3, worstMs: 700 }, 'the span before counts')
  now = 60_000
  assert.deepEqual(events.recentSyncs(), { count: 1, meanMs: 10, worstMs: 10 }, 'what is older does not')
  now = 180_000
  assert.deepEqual(events.recentSyncs(), { count: 0, meanMs: 0, worstMs: 0 })
  assert.deepEqual(lines, ['slow disk: a sync of 3 operations took 700 ms', 'store corrupt: job j1: checksum'])
  assert.ok(METRICS.spillway_store_sync_seconds.help.length > 0)
  await telemetry.close()
})

test('moved buckets and refused reloads are counted', async () => {
  const lines: string[] = []
  const telemetry = createTelemetry({ format: 'text', access: 'off', write: (line) => lines.push(line) })
  const moved = { type: 'buckets-moved', queue: 'q', server: 'a:1', moved: 86, buckets: 256, to: [], cause: 'down', takenBack: 0 } as const
  telemetry.event(moved)
  telemetry.event(moved)
  telemetry.event({ type: 'config-refused', file: 'x.yaml', problems: ['x.yaml:1:1  pools  is missing', 'x.yaml:2:1  more'] })
  const refused = telemetry.metrics.render()
  assert.match(refused, /^spillway_buckets_moved_total\{cause="down",queue="q"\} 172$/m)
  assert.match(refused, /^spillway_config_refused 1$/m)
  assert.match(refused, /^spillway_config_reloads_total\{outcome="refused"\} 1$/m)
  telemetry.event({ type: 'config-reloaded', file: 'x.yaml', needsRestart: [] })
  assert.match(telemetry.metrics.render(), /^spillway_config_refused 0$/m)
  assert.deepEqual(lines.slice(-2), [
    'x.yaml is refused, the configuration before it goes on: x.yaml:1:1  pools  is missing (and 1 more)',
    'x.yaml was read again and holds from now on',
  ])
  await telemetry.close()
})
