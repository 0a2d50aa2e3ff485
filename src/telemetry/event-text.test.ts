import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createEventText, eventText, spanText } from './event-text.ts'
import type { GatewayEvent } from './telemetry.ts'

const down: GatewayEvent = { type: 'server-down', pool: 'api', server: '127.0.0.1:3002', reason: 'connection reset' }
const moved: GatewayEvent = {
  type: 'buckets-moved',
  queue: 'reports',
  server: '127.0.0.1:3002',
  moved: 86,
  buckets: 256,
  to: ['127.0.0.1:3001', '127.0.0.1:3003'],
  cause: 'down',
  takenBack: 1,
}
const NAMES: Readonly<Record<string, string>> = { '127.0.0.1:3001': 'a', '127.0.0.1:3002': 'b', '127.0.0.1:3003': 'c' }
const named = (server: string): string => NAMES[server] ?? server

function collector(): { lines: string[]; print: (event: GatewayEvent) => void; flush: () => void } {
  const lines: string[] = []
  const text = createEventText({ write: (line) => lines.push(line), serverName: named, joinMs: 10_000 })
  return { lines, print: (event) => text.print(event), flush: () => text.flush() }
}

test('a server that goes down and its buckets make one line', () => {
  const { lines, print, flush } = collector()
  print(down)
  print(moved)
  assert.deepEqual(lines, [])
  flush()
  assert.deepEqual(lines, ['b down: connection reset; 86 of 256 buckets → a, c; 1 job taken back, keys stay in order'])
})

test('with several queues each says which it is', () => {
  const { lines, print, flush } = collector()
  print(down)
  print(moved)
  print({ ...moved, queue: 'orders', moved: 80, takenBack: 0 })
  flush()
  assert.deepEqual(lines, [
    'b down: connection reset; reports: 86 of 256 buckets → a, c; 1 job taken back, keys stay in order; orders: 80 of 256 buckets → a, c',
  ])
})

test('queues whose buckets moved alike are told as one, with all jobs that were taken back', () => {
  const { lines, print, flush } = collector()
  print(down)
  print(moved)
  print({ ...moved, queue: 'orders', takenBack: 2 })
  flush()
  assert.deepEqual(lines, ['b down: connection reset; 86 of 256 buckets → a, c; 3 jobs taken back, keys stay in order'])
})

test('any other event lets the waiting line out first', () => {
  const { lines, print } = collector()
  print(down)
  print({ type: 'stopped' })
  print(moved)
  assert.deepEqual(lines, [
    'b down: connection reset',
    'stopped',
    'reports: b down, 86 of 256 buckets → a, c; 1 job taken back, keys stay in order',
  ])
})

test('a line that waits comes out by itself', async () => {
  const line = await new Promise<string>((resolve) => {
    createEventText({ write: resolve, joinMs: 1 }).print({ ...down, type: 'server-up', reason: '2 checks passed', downForMs: 8120 })
    // The waiting line does not keep a process alive, this does.
    setTimeout(() => resolve('nothing came'), 5000).unref()
    const alive = setInterval(() => {}, 5)
    setTimeout(() => clearInterval(alive), 50)
  })
  assert.equal(line, '127.0.0.1:3002 up: 2 checks passed, was down for 8.1 s')
})

test('every event has a line of its own', () => {
  const cases: readonly (readonly [GatewayEvent, string])[] = [
    [
      { type: 'started', listeners: ['127.0.0.1:8080'], admin: '127.0.0.1:9900', pid: 7 },
      'listening on 127.0.0.1:8080; admin 127.0.0.1:9900; pid 7',
    ],
    [{ type: 'stopping', reason: 'SIGTERM', inFlight: 3 }, 'stopping: SIGTERM; 3 in flight'],
    [{ ...moved, to: [], takenBack: 2 }, 'reports: b down, 86 of 256 buckets → nobody, they wait; 2 jobs taken back, keys stay in order'],
    [{ type: 'mode-flipped', route: 'POST /orders', to: 'queue', reason: 'no server is up' }, 'POST /orders now queues: no server is up'],
    [{ type: 'mode-switched', route: 'POST /orders', to: 'refuse' }, 'POST /orders: an operator switched it to refuse'],
    [{ type: 'mode-flipped', route: 'POST /orders', to: 'direct', reason: 'a is up' }, 'POST /orders now goes direct: a is up'],
    [{ type: 'job-dead', job: 'j1', queue: 'q', reason: 'poison', detail: 'x' }, 'job j1 of q is dead: poison, x'],
    [
      { type: 'attempt-failed', job: 'j1', queue: 'q', server: '127.0.0.1:3001', attempt: 2, reason: 'status 500', retryInMs: 1500 },
      'job j1 of q: attempt 2 on a failed, status 500; again in 1.5 s',
    ],
    [{ type: 'limit-reached', limit: 'jobs', where: 'queue q', value: 10 }, 'limit reached: jobs at queue q (10)'],
    [
      { type: 'guard', level: 'slow', before: 'calm', signal: 'loopDelay', value: 212.4 },
      'the gateway has too much to do (loopDelay 212 ms): new connections are let in slowly',
    ],
    [
      { type: 'guard', level: 'shed', before: 'slow', signal: 'memory', value: 0.912 },
      'the gateway has too much to do (memory 91 %): requests are refused, the least urgent first',
    ],
    [
      { type: 'guard', level: 'slow', before: 'shed', signal: 'memory', value: 0.5 },
      'the gateway has less to do: no request is refused any more, new connections are let in slowly',
    ],
    [{ type: 'guard', level: 'calm', before: 'slow' }, 'the gateway has no more to do than it can: connections are let in as they come'],
    [{ type: 'sync-slow', tookMs: 812, operations: 40 }, 'slow disk: a sync of 40 operations took 812 ms'],
    [{ type: 'store-corrupt', what: 'job j1: checksum' }, 'store corrupt: job j1: checksum'],
    [{ type: 'warning', message: 'two\nlines' }, 'warning: two lines'],
    [{ type: 'fatal', message: 'no' }, 'fatal: no'],
  ]
  for (const [event, line] of cases) assert.equal(eventText(event, named), line)
})

test('what a server said of its failure neither breaks the line nor steers the terminal', () => {
  const detail = 'a\r\nb\u001b[2Jc\u009b31md\u0007e\u007ff\u2028g\u202eh'
  assert.equal(
    eventText({ type: 'job-dead', job: 'j1', queue: 'q', reason: 'attempts', detail }),
    'job j1 of q is dead: attempts, a b [2Jc 31md e f g h',
  )
  const lines: string[] = []
  const text = createEventText({ write: (line) => void lines.push(line) })
  text.print({ ...down, reason: 'reset\u001b]0;title\u0007' })
  text.flush()
  assert.deepEqual(lines, ['127.0.0.1:3002 down: reset ]0;title '])
})

test('spans are told in the unit that fits', () => {
  assert.deepEqual([5, 999, 1000, 59_900, 60_000, 3_600_000, 5_400_000].map(spanText), [
    '5 ms',
    '999 ms',
    '1 s',
    '59.9 s',
    '1 min',
    '1 h',
    '1.5 h',
  ])
})

test('who stands in for a pool, and why no longer', () => {
  assert.equal(eventText({ type: 'failover-began', pool: 'a', to: 'b' }), 'pool a has no server up: pool b stands in for it')
  assert.equal(eventText({ type: 'failover-ended', pool: 'a', reason: 'back' }), 'pool a has a server up again, and serves by itself')
  assert.equal(
    eventText({ type: 'failover-ended', pool: 'a', reason: 'lost' }),
    'pool a: those that stand in for it have no server up either',
  )
})
