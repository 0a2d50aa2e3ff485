/** The signature against vectors that another implementation has made, and against changes of them. */
import assert from 'node:assert/strict'
import { createHash, createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { SignatureError, type SignedRequest, verifySignature } from './verify.ts'

interface Vector extends Omit<SignedRequest, 'body'> {
  readonly name: string
  readonly secrets: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  readonly bodyBase64: string
}

const FILE = join(import.meta.dirname, '..', '..', '..', 'docs', 'signature-vectors.json')
const { vectors } = JSON.parse(readFileSync(FILE, 'utf8')) as { readonly vectors: readonly Vector[] }
const [first] = vectors as readonly [Vector]

function requestOf({
  method,
  target,
  headers,
  bodyBase64,
}: Vector): SignedRequest & { readonly headers: Readonly<Record<string, string>> } {
  return { method, target, headers, body: Buffer.from(bodyBase64, 'base64') }
}

function problemOf(verify: () => unknown): string {
  try {
    verify()
    return 'none'
  } catch (error) {
    assert.ok(error instanceof SignatureError, String(error))
    return error.problem
  }
}

for (const vector of vectors) {
  test(`vector: ${vector.name}`, () => {
    const request = requestOf(vector)
    for (const secret of vector.secrets) {
      const verified = verifySignature(request, secret)
      assert.equal(verified.job, vector.headers['spillway-job'])
      assert.equal(verified.submittedAt.toISOString(), vector.headers['spillway-submitted-at'])
      assert.deepEqual(
        verifySignature({ ...request, headers: new Headers(vector.headers) }, ['one that is not used any more', secret]),
        verified,
      )
    }
  })
}

test('a change of anything that is covered is found', () => {
  const request = requestOf(first)
  const changes: readonly Partial<SignedRequest>[] = [
    { method: 'PUT' },
    { method: 'post' },
    { target: '/reports?year=2025' },
    { target: '/reports' },
    { target: `${request.target}\n` },
    { body: '' },
    { body: Buffer.concat([request.body as Buffer, Buffer.from(' ')]) },
    ...['spillway-job', 'spillway-submitted-at', 'authorization'].map((name) => ({
      headers: { ...request.headers, [name]: name === 'spillway-submitted-at' ? '2026-01-02T03:04:05.677Z' : `${request.headers[name]}x` },
    })),
    { headers: { ...request.headers, authorization: undefined } },
  ]
  for (const change of changes)
    assert.equal(
      problemOf(() => verifySignature({ ...request, ...change }, first.secrets)),
      'mismatch',
      JSON.stringify(change),
    )
  assert.equal(
    problemOf(() => verifySignature(request, 'whsec_AAAA')),
    'mismatch',
  )
})

test('every bit of the signature counts', () => {
  const request = requestOf(first)
  const signature = Buffer.from((request.headers['spillway-signature'] ?? '').slice(3), 'base64')
  for (let bit = 0; bit < signature.length * 8; bit++) {
    const flipped = Buffer.from(signature)
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7))
    const headers = { ...request.headers, 'spillway-signature': `v1,${flipped.toString('base64')}` }
    assert.equal(
      problemOf(() => verifySignature({ ...request, headers }, first.secrets)),
      'mismatch',
    )
  }
})

test('what is missing or none of ours is said', () => {
  const request = requestOf(first)
  const withHeader = (name: string, value: string | undefined) => (): unknown =>
    verifySignature({ ...request, headers: { ...request.headers, [name]: value } }, first.secrets)
  for (const name of ['spillway-signature', 'spillway-job', 'spillway-submitted-at']) {
    assert.equal(problemOf(withHeader(name, undefined)), 'missing')
    assert.throws(withHeader(name, ''), new SignatureError('missing', `the request has no ${name}`))
  }
  assert.equal(problemOf(withHeader('spillway-signature', 'v1a,AAAA')), 'malformed')
  assert.equal(problemOf(withHeader('spillway-signature', 'v1,AAAA v1,')), 'mismatch')
  assert.equal(problemOf(withHeader('spillway-submitted-at', 'yesterday')), 'malformed')
  assert.throws(() => verifySignature(request, []), TypeError)
})

test('a job may be as old as the server allows', () => {
  const request = requestOf(first)
  const submitted = Date.parse(first.headers['spillway-submitted-at'] ?? '')
  const verify = (now: number) => (): unknown => verifySignature(request, first.secrets, { toleranceMs: 1000, now })
  assert.equal(problemOf(verify(submitted + 1000)), 'none')
  assert.equal(problemOf(verify(submitted + 1001)), 'too-old')
})

test('an empty secret proves nothing: what anybody can sign is not accepted', () => {
  const { body, ...request } = requestOf(first)
  const { authorization } = request.headers
  const digest = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
  const { 'spillway-job': job, 'spillway-submitted-at': submitted } = request.headers
  const hashed = authorization === undefined ? '-' : digest(authorization)
  const text = ['spillway-v1', job, submitted, request.method, request.target, hashed, digest(body)].join('\n')
  const signed = { ...request.headers, 'spillway-signature': `v1,${createHmac('sha256', '').update(text).digest('base64')}` }
  for (const secrets of ['', 'whsec_', ['', 'a good one']]) {
    assert.throws(() => verifySignature({ ...request, body, headers: signed }, secrets), TypeError)
  }
})
