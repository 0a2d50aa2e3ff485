import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { EventBlocks, type JobEvent, readEvents, type Reconnect } from './events.ts'
import type { OpenAnswer } from './open.ts'

/** An answer whose body comes in these pieces. */
function answerOf(pieces: readonly Uint8Array[], type: string): OpenAnswer {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const piece of pieces) controller.enqueue(piece)
      controller.close()
    },
  })
  return { response: new Response(body, { headers: { 'content-type': type } }), abort: () => undefined, done: () => undefined }
}

async function eventsIn(pieces: readonly Uint8Array[], type = 'text/event-stream'): Promise<(JobEvent | Reconnect)[]> {
  const read: (JobEvent | Reconnect)[] = []
  for await (const event of readEvents(answerOf(pieces, type), 45_000)) read.push(event)
  return read
}

/** Cut at these places, empty pieces included. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end))
}

const anyEvent = fc.record({
  event: fc.constantFrom('status', 'progress', 'end'),
  version: fc.nat(),
  progress: fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('a\u2028b', '\u{1F600}', 'data: x', '\r')),
})
const anyNewline = fc.constantFrom('\n', '\r', '\r\n')

test('however a stream of events is cut, the events are the same', async () => {
  const property = fc.asyncProperty(
    fc.array(anyEvent),
    anyNewline,
    fc.array(fc.nat()),
    fc.boolean(),
    async (events, newline, places, bom) => {
      const blocks = events.map((event) => [
        `event: ${event.event}`,
        `id: ${event.version}`,
        `data: ${JSON.stringify(event)}`,
        '',
        ': heartbeat',
        '',
        '',
      ])
      const text = `${bom ? '\uFEFF' : ''}${blocks.map((lines) => lines.join(newline)).join('')}`
      const read = await eventsIn(cut(new TextEncoder().encode(text), places))
      assert.deepEqual(read, JSON.parse(JSON.stringify(events)))
    },
  )
  await fc.assert(property)
})

test('however lines of JSON are cut, the events are the same', async () => {
  const property = fc.asyncProperty(fc.array(anyEvent), fc.array(fc.nat()), async (events, places) => {
    const text = events.map((event) => `${JSON.stringify(event)}\n{"event":"heartbeat"}\n`).join('')
    const read = await eventsIn(cut(new TextEncoder().encode(text), places), 'application/x-ndjson')
    assert.deepEqual(read, JSON.parse(JSON.stringify(events)))
  })
  await fc.assert(property)
})

test('any text is read without an error, and a block that is not whole is no event', async () => {
  const property = fc.asyncProperty(fc.string({ unit: 'binary' }), fc.array(fc.nat()), async (text, places) => {
    await eventsIn(cut(new TextEncoder().encode(text), places))
  })
  await fc.assert(property)
  assert.deepEqual(await eventsIn([new TextEncoder().encode('data: {"event":"end","version":1}\n')]), [])
})

test('fields are read as the HTML standard has it', () => {
  const read = (...lines: readonly string[]): unknown[] => {
    const blocks = new EventBlocks()
    return lines.map((line) => blocks.line(line)).filter((brought) => Object.keys(brought).length > 0)
  }
  assert.deepEqual(read('data: a', 'data:b', 'data:  c', 'data', 'data: d: e', ''), [{ data: 'a\nb\n c\n\nd: e' }])
  assert.deepEqual(read(':data: a', 'datum: a', ' data: a', 'event: x', ''), [])
  assert.deepEqual(read('retry: 1500', 'retry: soon', 'retry:', 'data: a', '', ''), [{ retryMs: 1500 }, { data: 'a' }])
})
