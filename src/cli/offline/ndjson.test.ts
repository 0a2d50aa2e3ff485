/** Lines of an export are documents that the queue API takes. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { isWrong, readJobDocument } from '../../core/jobs/job-document.ts'
import type { ExportedJob } from './exported-job.ts'
import { jobLine } from './ndjson.ts'

const NOW = 1_800_000_000_000
const LIMITS = { headBytesMax: 65_536, headersMax: 100, targetBytesMax: 8192 }

function job(changes: Partial<ExportedJob> = {}, request: Partial<ExportedJob['request']> = {}): ExportedJob {
  return {
    ...{ id: '0aks1wyrm00', queue: 'q', route: 'r', status: 'queued', attempt: 0, attempts: 3, handOuts: 0, priority: 0, submittedAt: NOW },
    ...{ sendOnce: false, method: 'POST' },
    ...changes,
    request: { method: 'POST', target: '/', headers: [], body: Buffer.alloc(0), ...request },
  }
}

test('any body and any header come out as they went in', () => {
  const latin1 = fc.string({
    unit: fc
      .integer({ min: 0x21, max: 0xff })
      .filter((code) => code !== 0x7f && code !== 0xa0)
      .map((code) => String.fromCharCode(code)),
  })
  fc.assert(
    fc.property(fc.uint8Array(), latin1, latin1, (body, one, two) => {
      const headers = ['X-A', one, '__proto__', 'p', 'X-A', two, 'x-a', 'lower', 'Idempotency-Key', 'mine']
      const read = readJobDocument(JSON.parse(jobLine(job({}, { headers, body }), NOW)), LIMITS)
      assert.ok(!isWrong(read), JSON.stringify(read))
      const bytes =
        read.bodyKind === 'base64' ? Buffer.from(read.body as string, 'base64') : Buffer.from((read.body as string | undefined) ?? '')
      assert.deepEqual(new Uint8Array(bytes), new Uint8Array(body))
      assert.deepEqual(read.headers, ['X-A', one, 'X-A', two, '__proto__', 'p', 'x-a', 'lower', 'Idempotency-Key', 'mine'])
    }),
  )
})

test('times are what is left of them; what is over is left out', () => {
  const times = { notBefore: NOW + 1000, expiresAt: NOW + 5000, deadlineAt: NOW + 9000 }
  const read = readJobDocument(JSON.parse(jobLine(job(times), NOW)), LIMITS)
  assert.ok(!isWrong(read))
  assert.deepEqual([read.delayMs, read.expireAfterMs, read.deadlineMs], [1000, 4000, 9000])
  const over = readJobDocument(JSON.parse(jobLine(job(times), NOW + 10_000)), LIMITS)
  assert.ok(!isWrong(over))
  assert.deepEqual([over.delayMs, over.expireAfterMs, over.deadlineMs], [undefined, undefined, undefined])
})

test('its id is the idempotency key of the import, and the one that servers get where the client gave none', () => {
  const document = JSON.parse(jobLine(job(), NOW)) as Record<string, unknown>
  assert.deepEqual([document['idempotencyKey'], document['headers']], ['0aks1wyrm00', { 'Idempotency-Key': '0aks1wyrm00' }])
})
