import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { redactPath } from './redact.ts'

const SEED = Number(process.env['SEED'] ?? randomBytes(4).readUInt32LE())
const base64url = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.split('')
const id = fc.string({ unit: fc.constantFrom(...'0123456789abcdefghjkmnpqrstvwxyz'.split('')), minLength: 8, maxLength: 26 })
const secret = fc.string({ unit: fc.constantFrom(...base64url), minLength: 22, maxLength: 22 })

test('a token becomes its job id, the rest of the URL stays', () => {
  const token = '01j9zk3v7q.AAAAAAAAAAAAAAAAAAAAAA'
  assert.equal(redactPath(`/_spillway/jobs/${token}`, '/_spillway'), '/_spillway/jobs/01j9zk3v7q')
  assert.equal(redactPath(`/_spillway/jobs/${token}/result`, '/_spillway'), '/_spillway/jobs/01j9zk3v7q/result')
  assert.equal(redactPath(`/_spillway/batches/${token}/jobs`, '/_spillway'), '/_spillway/batches/01j9zk3v7q/jobs')
  assert.equal(redactPath(`/q/jobs/${token}/events`, '/q'), '/q/jobs/01j9zk3v7q/events')
})

test('other paths stay as they are', () => {
  for (const path of ['/', '/reports', '/a.b/c', '/static/app.3f2a.js', '/_spillwayish', '*']) {
    assert.equal(redactPath(path, '/_spillway'), path)
  }
})

test('under the jobs path only known words and ids are left', () => {
  assert.equal(redactPath('/_spillway/something/secret', '/_spillway'), '/_spillway/***/***')
  assert.equal(redactPath('/_spillway/jobs/', '/_spillway'), '/_spillway/jobs/')
})

test('no token passes, wherever it stands and however its dot is written', () => {
  const path = fc.record({
    id,
    secret,
    dot: fc.constantFrom('.', '%2e', '%2E'),
    before: fc.constantFrom(
      '/_spillway/jobs/',
      '/_spillway//jobs/',
      '/_spillway/',
      '/x/',
      '//',
      '/_spillway/report/',
      '/_SPILLWAY/jobs/',
      '/a/_spillway/jobs/',
    ),
    after: fc.constantFrom('', '/', '/result', '/events', '/x', ';v=1', '%20', '.x'),
  })
  fc.assert(
    fc.property(path, (parts) => {
      const text = redactPath(`${parts.before}${parts.id}${parts.dot}${parts.secret}${parts.after}`, '/_spillway')
      assert.ok(!text.includes(parts.secret), text)
    }),
    { seed: SEED, numRuns: 2000 },
  )
})

test('the secret of a report URL that stands alone under the jobs path does not pass either', () => {
  fc.assert(
    fc.property(id, secret, (job, alone) => {
      assert.ok(!redactPath(`/_spillway/reports/${job}/7/${alone}`, '/_spillway').includes(alone))
    }),
    { seed: SEED },
  )
})
