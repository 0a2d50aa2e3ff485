/** Whatever is signed verifies, and whatever of it is changed does not: the gateway's half and that of servers, which share no code. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { SignatureError, verifySignature } from '../../src/client/server/verify.ts'
import { type SignedJob, signatureFor } from '../../src/jobs/signature.ts'
import '../support/seed-fast-check.ts'

const TEXT = fc.string({ unit: 'binary-ascii', maxLength: 20 }).map((text) => text.replace(/[\0\r\n]/g, ' ').trim())

const covered = {
  id: fc.stringMatching(/^[0-9a-z]{1,12}$/),
  submittedAt: fc.date({ min: new Date(0), max: new Date(4e12), noInvalidDate: true }).map((date) => date.toISOString()),
  method: fc.constantFrom('POST', 'PUT', 'PATCH', 'DELETE', 'post'),
  target: TEXT.map((text) => `/${text}`),
  authorization: fc.option(TEXT, { nil: undefined }),
  body: fc.uint8Array({ maxLength: 40 }),
}
const facts = fc.record(covered)
type Facts = typeof facts extends fc.Arbitrary<infer T> ? T : never
type Part = keyof Facts

function signed({ id, submittedAt, method, target, authorization, body }: Facts): SignedJob {
  const headers = ['X-Other', 'a', ...(authorization === undefined ? [] : ['AUTHORIZATION', authorization])]
  return { id, submittedAt, request: { method, target, headers, body } }
}

function verify(
  { id, submittedAt, method, target, authorization, body }: Facts,
  signature: string,
  secrets: readonly string[],
): ReturnType<typeof verifySignature> {
  const headers = { 'spillway-job': id, 'spillway-submitted-at': submittedAt, 'spillway-signature': signature, authorization }
  return verifySignature({ method, target, headers, body }, secrets)
}

const secret = fc.uint8Array({ minLength: 24, maxLength: 64 })
const encoded = (bytes: Uint8Array): string => `whsec_${Buffer.from(bytes).toString('base64')}`

test('what was signed with any of the keys verifies with any of them', () => {
  fc.assert(
    fc.property(facts, fc.array(secret, { minLength: 1, maxLength: 3 }), (one, secrets) => {
      const signature = signatureFor(
        signed(one),
        secrets.map((bytes, i) => ({ id: `${i}`, secret: bytes })),
      )
      for (const bytes of secrets) assert.equal(verify(one, signature, [encoded(bytes)]).job, one.id)
    }),
  )
})

test('no change of any part that is covered verifies, nor another secret', () => {
  const parts = Object.keys(covered) as Part[]
  for (const part of parts) {
    fc.assert(
      fc.property(facts, facts, secret, (one, other, bytes) => {
        const changed = { ...one, [part]: other[part] }
        fc.pre(JSON.stringify(changed) !== JSON.stringify(one))
        const signature = signatureFor(signed(one), [{ id: 'k', secret: bytes }])
        assert.throws(() => verify(changed, signature, [encoded(bytes)]), SignatureError, part)
      }),
    )
  }
  fc.assert(
    fc.property(facts, secret, secret, (one, mine, theirs) => {
      fc.pre(Buffer.compare(mine, theirs) !== 0)
      assert.throws(() => verify(one, signatureFor(signed(one), [{ id: 'k', secret: mine }]), [encoded(theirs)]), SignatureError)
    }),
  )
})
