/** What strangers may send to the addresses of reports, and what they may say of themselves, never breaks anything. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isCaller } from '../../src/api/binding.ts'
import { SignatureError, verifySignature } from '../../src/client/server/verify.ts'
import { cookieValue } from '../../src/core/headers/cookie.ts'
import { clientBehind } from '../../src/core/headers/forwarded-for.ts'
import { isReportAddress, parseReportAddress, reportAddressOf } from '../../src/jobs/report-address.ts'
import type { StoredJob } from '../../src/ports/job-store.ts'
import '../support/seed-fast-check.ts'

const JOB = { secret: 'the-secret-of-a-job-22' } as StoredJob

const ref = fc.record({
  id: fc.stringMatching(/^[0-9a-z]{1,12}$/),
  fence: fc.nat(),
  secret: fc.stringMatching(/^[A-Za-z0-9_-]{22}$/),
})

test('an address is read as it was written, and proves itself for its own job only', () => {
  fc.assert(
    fc.property(ref, fc.string(), (lease, other) => {
      const parsed = parseReportAddress(reportAddressOf(lease, JOB))
      assert.deepEqual(parsed?.ref, { ...lease })
      assert.ok(parsed !== undefined && isReportAddress(parsed, JOB))
      assert.ok(!isReportAddress(parsed, undefined))
      assert.ok(other === JOB.secret || !isReportAddress(parsed, { ...JOB, secret: other }))
    }),
  )
})

test('an address in which any character is another is none', () => {
  fc.assert(
    fc.property(ref, fc.nat(), fc.constantFrom('0', 'A', 'z', '_', '-', '.'), (lease, at, character) => {
      const address = reportAddressOf(lease, JOB)
      const i = at % address.length
      fc.pre(address[i] !== character)
      const parsed = parseReportAddress(address.slice(0, i) + character + address.slice(i + 1))
      assert.ok(parsed === undefined || !isReportAddress(parsed, JOB), address)
    }),
    { numRuns: 1000 },
  )
})

test('no other text is an address of that job', () => {
  const part = fc.oneof(fc.string(), fc.stringMatching(/^[A-Za-z0-9_-]{1,30}$/), fc.nat().map(String))
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const parsed = parseReportAddress(parts.join('.'))
      assert.ok(parsed === undefined || !isReportAddress(parsed, JOB))
    }),
  )
})

test('whatever callers say of themselves has an answer', () => {
  const text = fc.string({ unit: 'binary', maxLength: 60 })
  fc.assert(
    fc.property(fc.array(text), text, (fields, name) => {
      assert.equal(typeof clientBehind('1.2.3.4', fields, (address) => address.length < 8), 'string')
      cookieValue(fields, name)
      isCaller({ ...JOB, binding: name }, ['Cookie', fields.join(';')])
      const headers = { 'spillway-signature': name, 'spillway-job': 'j', 'spillway-submitted-at': fields[0] }
      assert.throws(() => verifySignature({ method: 'POST', target: '/', headers, body: name }, 'secret'), SignatureError)
    }),
  )
})
