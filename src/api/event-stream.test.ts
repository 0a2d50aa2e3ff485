import assert from 'node:assert/strict'
import { test } from 'node:test'
import { testConfig } from '../../test/support/test-config.ts'
import { SeededRandom } from '../../test/support/seeded-random.ts'
import type { Call } from '../net/call.ts'
import type { WatchListener } from '../jobs/watch.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { streamEvents, type StreamFormat, streamFormat } from './event-stream.ts'

function job(version: number, change: Partial<StoredJob> = {}): StoredJob {
  const base = { id: 'j1', secret: 's', queue: 'work', status: 'running', attempt: 1, attempts: 3, submittedAt: 0, hasAnswer: false }
  return { ...base, version, ...change } as StoredJob
}

/** A client whose reading the test controls. */
function reader(format: StreamFormat, first: StoredJob = job(1)) {
  const closing = new AbortController()
  const written: string[] = []
  let flowing = true
  let drain = (): void => undefined
  let gone = (): void => undefined
  let ended = false
  let aborted = false
  let listener: WatchListener | undefined
  const call = {
    head: { method: 'GET', headers: [] },
    sendHead: () => undefined,
    write: (text: string) => {
      written.push(text)
      return flowing
    },
    onDrain: (fn: () => void) => void (drain = fn),
    onGone: (fn: () => void) => void (gone = fn),
    end: () => void (ended = true),
    abort: () => void (aborted = true),
    log: {},
  } as unknown as Call
  const jobs = {
    closing: closing.signal,
    estimate: () => ({ retryAfterSeconds: 1 }),
    watch: (_: string, __: number, ___: number, fn: WatchListener) => {
      listener = fn
      return () => void (listener = undefined)
    },
  }
  const config = testConfig({ pools: [], queues: [], routes: [] })
  streamEvents(call, { config, jobs, random: new SeededRandom(1) }, first, {
    format,
    status: 200,
    extraHeaders: [],
    onOver: () => undefined,
  })
  return {
    written,
    change: (changed: StoredJob) => listener?.job(changed, undefined),
    beat: (read: StoredJob | undefined) => listener?.beat(read),
    stall: () => void (flowing = false),
    drain: () => {
      flowing = true
      drain()
    },
    leave: () => gone(),
    shutDown: () => closing.abort(),
    ended: () => ended,
    aborted: () => aborted,
    watching: () => listener !== undefined,
  }
}

test('Accept chooses the format; SSE where it says nothing or anything', () => {
  for (const accept of [undefined, '', '*/*', 'text/event-stream', 'text/html, */*;q=0.1', 'text/*'])
    assert.equal(streamFormat(accept), 'sse', accept)
  for (const accept of ['application/x-ndjson', 'application/x-ndjson, text/event-stream;q=0.5', 'text/html, Application/X-NDJSON;q=1']) {
    assert.equal(streamFormat(accept), 'ndjson', accept)
  }
  for (const accept of ['text/html', 'application/json', '*/*;q=0', 'text/event-stream;q=0.0'])
    assert.equal(streamFormat(accept), undefined, accept)
})

test('SSE: status, progress and end, with the version as id, and then it is over', () => {
  const client = reader('sse')
  client.change(job(2, { progress: '{"percent":50}' }))
  client.change(job(3, { status: 'retrying' }))
  client.change(job(4, { status: 'succeeded' }))
  assert.equal(client.written.length, 4)
  const events = client.written.map((text) => /^event: (\w+)\nid: (\d+)\ndata: (.*)\n\n$/.exec(text) as RegExpExecArray)
  assert.deepEqual(
    events.map((event) => [event[1], event[2]]),
    [
      ['status', '1'],
      ['progress', '2'],
      ['status', '3'],
      ['end', '4'],
    ],
  )
  const first = JSON.parse(events[0]![3] as string) as { links: { self: string } }
  assert.equal(first.links.self, '/_spillway/jobs/j1.s')
  assert.deepEqual((JSON.parse(events[1]![3] as string) as { progress: unknown }).progress, { percent: 50 })
  assert.ok(client.ended() && !client.watching())
})

test('NDJSON: one object per line, heartbeats too', () => {
  const client = reader('ndjson')
  client.beat(job(1))
  client.change(job(2, { status: 'failed' }))
  const events = client.written.map((line) => {
    assert.match(line, /^[^\n]+\n$/)
    return (JSON.parse(line) as { event: string }).event
  })
  assert.deepEqual(events, ['status', 'heartbeat', 'end'])
})

test('a reader that is too slow is kept one snapshot, the latest', () => {
  const client = reader('ndjson')
  client.stall()
  client.change(job(2))
  for (let version = 3; version <= 10_000; version++) client.change(job(version, { progress: `${version}` }))
  client.beat(job(10_000))
  assert.equal(client.written.length, 2)
  client.drain()
  assert.equal(client.written.length, 3)
  assert.equal((JSON.parse(client.written[2] as string) as { version: number }).version, 10_000)
})

test('the end is not lost on a slow reader', () => {
  const client = reader('ndjson')
  client.stall()
  client.change(job(2))
  client.change(job(3, { status: 'succeeded' }))
  assert.ok(!client.ended())
  client.drain()
  assert.ok(client.ended())
  assert.equal((JSON.parse(client.written.at(-1) as string) as { event: string }).event, 'end')
})

test('at shutdown the client is told when to come back', () => {
  for (const format of ['sse', 'ndjson'] as const) {
    const client = reader(format)
    client.shutDown()
    assert.match(
      client.written.at(-1) as string,
      format === 'sse' ? /^retry: \d{3,4}\n\n$/ : /^\{"event":"reconnect","retryMs":\d{3,4}\}\n$/,
    )
    assert.ok(client.ended() && !client.watching())
  }
})

test('a client that leaves is forgotten, and a job whose retention is over ends the stream', () => {
  const left = reader('sse')
  left.leave()
  assert.ok(!left.watching())
  const over = reader('sse')
  over.beat(undefined)
  assert.ok(over.ended() && !over.watching())
})

test('a snapshot that cannot be written breaks this stream off, and nobody else hears of it', () => {
  const unwritable = { progress: 'no JSON' }
  const first = reader('sse', job(1, unwritable))
  assert.deepEqual([first.aborted(), first.ended(), first.watching()], [true, false, false])
  const later = reader('sse')
  later.change(job(2, unwritable))
  assert.deepEqual([later.aborted(), later.ended(), later.watching()], [true, false, false])
  const slow = reader('sse')
  slow.stall()
  slow.change(job(2))
  slow.change(job(3, unwritable))
  assert.ok(!slow.aborted())
  slow.drain()
  assert.deepEqual([slow.aborted(), slow.ended(), slow.watching()], [true, false, false])
})
