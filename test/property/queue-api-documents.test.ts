/** Whatever is sent to the queue API: readers never throw, what they take is safe to store and to send on, and what goes through comes out the same. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import '../support/seed-fast-check.ts'
import { messageMembers } from '../../src/api/queues/bodies.ts'
import { readFilter } from '../../src/api/queues/filter.ts'
import { type Line, LineSplitter, TOO_LONG } from '../../src/api/queues/lines.ts'
import { parseReceipt, receiptOf } from '../../src/api/queues/receipt.ts'
import { jobsOf } from '../../src/api/queues/destination.ts'
import { readSettlement } from '../../src/api/queues/settlement.ts'
import { isWrong, readJobDocument } from '../../src/core/jobs/job-document.ts'
import { fieldLines } from '../../src/http1/write.ts'
import { newJobOf, thenCompleter } from '../../src/jobs/new-job.ts'
import type { Lease, NewJob } from '../../src/ports/job-store.ts'
import { pullQueue, startQueueApiRig } from '../support/queue-api-rig.ts'

const LIMITS = { headBytesMax: 1000, headersMax: 10, targetBytesMax: 100 }
const QUEUE = pullQueue({ name: 'inbox' })
const BODY_MAX = 500
const FIELDS = [
  ...['payload', 'text', 'base64', 'contentType', 'headers', 'method', 'target', 'key', 'tenant', 'priority', 'reference', 'delay'],
  ...['expireAfter', 'deadline', 'attempts', 'idempotencyKey', '__proto__', 'constructor', 'x'],
]
/** Values of every kind, often near what is right. */
const value = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>('30s', '1h', 0, 1, 9, 10, 1000, 'POST', '/a?b', 'aGk=', 'a\r\nb', '\ud800', 'ä', '', -1, 1.5, 1e300, null, true),
  fc.string({ maxLength: 600 }),
  fc.dictionary(
    fc.oneof(fc.string(), fc.constantFrom('X-A', 'Content-Type', 'connection', 'spillway-job')),
    fc.oneof(fc.string(), fc.array(fc.string())),
  ),
)
const nearly = (fields: readonly string[]): fc.Arbitrary<unknown> =>
  fc.oneof({ weight: 5, arbitrary: fc.dictionary(fc.constantFrom(...fields), value, { maxKeys: 4 }) }, fc.jsonValue())

function taken(document: unknown): NewJob | undefined {
  const read = readJobDocument(document, LIMITS)
  if (isWrong(read)) {
    assert.ok(read.wrong.length > 0)
    return undefined
  }
  const job = newJobOf(read, QUEUE, { route: 'api', scope: '', bodyBytesMax: BODY_MAX, completeThen: thenCompleter([], () => []) })
  return 'wrong' in job ? undefined : job
}

describe('documents', () => {
  test('a job that is taken is safe to store and to send to a server', () => {
    fc.assert(
      fc.property(nearly(FIELDS), (document) => {
        const job = taken(document)
        if (job === undefined) return
        const { method, target, headers, body } = job.request
        assert.match(`${method} ${target}`, /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ \/[!-~]*$/)
        assert.equal(headers.length % 2, 0)
        // Each field is one line, and none of them says how the message is delimited.
        const lines = fieldLines(headers).split('\r\n').slice(0, -1)
        assert.equal(lines.length, headers.length / 2)
        for (const line of lines) assert.doesNotMatch(line, /^(content-length|transfer-encoding|connection|spillway-[^:]*):|[\n\r\0]/i)
        assert.ok(body.length <= BODY_MAX && job.priority >= 0 && job.priority <= 9 && job.attempts >= 1)
        for (const text of [job.key, job.tenant, job.reference]) assert.ok(text === undefined || (text.length > 0 && text.isWellFormed()))
        for (const time of [job.delayMs ?? 0, job.expireAfterMs ?? 1, job.deadlineMs ?? 1])
          assert.ok(Number.isSafeInteger(time) && time >= 0)
      }),
      { numRuns: 3000 },
    )
  })

  test('a body that goes in comes out the same', () => {
    const body = fc.oneof(
      fc.record({ payload: fc.jsonValue() }),
      fc.record({ text: fc.string({ unit: 'grapheme', maxLength: 50, minLength: 1 }) }),
      fc.uint8Array({ maxLength: 50, minLength: 1 }).map((bytes) => ({ base64: Buffer.from(bytes).toString('base64') })),
    )
    fc.assert(
      fc.property(body, (document) => {
        const job = taken(jobsOf(JSON.stringify(document)))
        if (job === undefined) return
        const shown = JSON.parse(`{${messageMembers(job.request, false)}}`) as Record<string, unknown>
        if ('payload' in document) assert.deepEqual(shown['payload'], JSON.parse(JSON.stringify(document.payload)))
        else if ('text' in document) assert.equal(shown['text'], document.text)
        else {
          const bytes = 'text' in shown ? Buffer.from(String(shown['text'])) : Buffer.from(String(shown['base64']), 'base64')
          assert.equal(bytes.toString('base64'), document.base64)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('settlements, filters and receipts of any shape are read or refused', () => {
    const receipt = '0aks0ts8400.4294967297.1.AAAAAAAAAAAAAAAAAAAAAA'
    const bounds = { resultBytesMax: BODY_MAX, headBytesMax: 1000, headersMax: 10, unit: () => 0.5 }
    const settlement = fc.record(
      {
        receipt: fc.oneof(fc.constant(receipt), fc.string()),
        outcome: fc.constantFrom('succeed', 'retry', 'release', 'fail', 'x'),
        result: nearly(FIELDS),
        after: value,
        reason: value,
        deadLetter: value,
      },
      { requiredKeys: ['receipt', 'outcome'] },
    )
    fc.assert(
      fc.property(fc.oneof(settlement, fc.jsonValue()), (document) => {
        const read = readSettlement(document, 'settlements[0]', QUEUE, bounds)
        if (typeof read === 'string') return assert.ok(read.startsWith('settlements[0]'))
        assert.equal(read.lease.id, '0aks0ts8400')
        if (read.kind === 'retry' || read.kind === 'handBack') assert.ok(read.afterMs >= 0)
        if (read.kind === 'succeed') assert.ok(read.answer.status >= 200 && read.answer.status < 600 && read.answer.body.length <= BODY_MAX)
      }),
      { numRuns: 2000 },
    )
    fc.assert(
      fc.property(nearly(['status', 'dead', 'key', 'tenant', 'reference', 'since', 'until', 'x']), (document) => {
        const read = readFilter(document)
        assert.ok(typeof read === 'string' ? read.startsWith('filter') : read.since === undefined || Number.isFinite(read.since))
      }),
    )
    fc.assert(
      fc.property(fc.string(), (text) => {
        const read = parseReceipt(text)
        assert.ok(read === undefined || text.startsWith(`${read.lease.id}.`))
      }),
    )
    const lease = { ref: { id: '0aks0ts8400', fence: 4_294_967_297, secret: 'A_-z' }, job: { attempt: 3 } } as unknown as Lease
    assert.deepEqual(parseReceipt(receiptOf(lease)), { lease: lease.ref, attempt: 3 })
  })
})

describe('lines', () => {
  const MAX = 20

  function split(bytes: Buffer, cuts: readonly number[]): string[] {
    const splitter = new LineSplitter(MAX)
    const lines: Line[] = []
    let at = 0
    for (const cut of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
      const end = Math.min(Math.max(cut, at), bytes.length)
      // What was read is used again for the next: nothing may be kept of it.
      const piece = Buffer.from(bytes.subarray(at, end))
      lines.push(...splitter.push(piece))
      piece.fill(0)
      at = end
      assert.ok(splitter.pending <= MAX)
    }
    return [...lines, ...splitter.end()].map((line) => (line === TOO_LONG ? 'too long' : Buffer.from(line).toString()))
  }

  test('however they are cut, they are the lines of the text; too long ones are told of once', () => {
    const text = fc.array(fc.oneof(fc.constantFrom('', ' ', '\r', '{"a":1}', 'ä'), fc.string({ unit: 'binary-ascii', maxLength: 30 })), {
      maxLength: 12,
    })
    fc.assert(
      fc.property(text, fc.array(fc.nat(200), { maxLength: 10 }), (parts, cuts) => {
        const whole = Buffer.from(parts.map((part) => part.replaceAll('\n', '')).join('\n'))
        const expected = whole
          .toString()
          .split('\n')
          .filter((line) => !/^[ \t\r]*$/.test(line) || Buffer.byteLength(line) > MAX)
          .map((line) => (Buffer.byteLength(line) > MAX ? 'too long' : line))
        assert.deepEqual(split(whole, cuts), expected)
      }),
      { numRuns: 1000 },
    )
  })
})

test('whatever is sent to any address, the answer is no failure of ours, and the gateway goes on', async () => {
  await using rig = await startQueueApiRig()
  const addresses = [
    ...[
      '/queues/inbox/jobs',
      '/queues/inbox/receive',
      '/queues/inbox/settle',
      '/queues/inbox/extend',
      '/queues/inbox/progress',
      '/queues/inbox/tasks',
    ],
    ...['/queues/inbox/purge', '/queues/inbox/keys/release', '/jobs/0aks0ts8400/redrive', '/jobs/x/move', '/topics/t/publish'],
  ]
  const puts = ['/queues/made', '/schedules/s', '/topics/t', '/topics/t/subscriptions/a']
  const body = fc.oneof(
    nearly([
      ...FIELDS,
      'jobs',
      'max',
      'wait',
      'lease',
      'settlements',
      'receipts',
      'kind',
      'filter',
      'queue',
      'cron',
      'every',
      'job',
      'limits',
      'rate',
    ]).map((document) => JSON.stringify(document)),
    fc.string(),
    fc.array(fc.string(), { maxLength: 3 }).map((jobs) => `{"jobs":[${jobs.join(',')}]}`),
  )
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.constantFrom(...addresses), fc.constantFrom(...puts)), body, fc.boolean(), async (path, text, lines) => {
      const type = { 'content-type': lines ? 'application/x-ndjson' : 'application/json' }
      const answer = await rig.api(puts.includes(path) ? 'PUT' : 'POST', path, text, type)
      assert.ok(answer.status < 500 || answer.document.code === 'queue_full', `${path} ${text}: ${answer.text}`)
    }),
    { numRuns: 500 },
  )
  assert.equal((await rig.api('GET', '/queues')).status, 200)
  assert.deepEqual(
    rig.events.filter(({ type }) => type === 'warning'),
    [],
  )
})
