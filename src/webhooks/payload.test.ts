import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import type { JobAnswer } from '../ports/job-store.ts'
import { payloadOf } from './payload.ts'

const answer = (body: readonly number[] | Uint8Array | string, headers: readonly string[] = []): JobAnswer => {
  return { status: 200, reason: 'OK', headers, body: Buffer.from(body as Uint8Array) }
}
const read = (payload: Buffer): Record<string, unknown> => JSON.parse(payload.toString()) as Record<string, unknown>
const result = (of: JobAnswer, max = 1000): unknown => read(payloadOf({ id: 'a' }, of, max))['result']

test('JSON is sent along to the digit, as the server wrote it', () => {
  const text = '{ "id": 12345678901234567890, "price": 1.50,\n "a": [] }'
  const payload = payloadOf({ id: 'a' }, answer(text, ['Content-Type', 'application/problem+json; charset=utf-8']), 1000).toString()
  assert.ok(payload.includes(`"encoding":"json","body":${text}}`))
  assert.equal((JSON.parse(payload) as { id: string }).id, 'a')
})

test('what is no JSON is sent as text, what is no text in base64', () => {
  const json = ['content-type', 'application/json']
  assert.deepEqual(result(answer('{"a":', json)), {
    status: 200,
    headers: { 'content-type': 'application/json' },
    encoding: 'text',
    body: '{"a":',
  })
  assert.deepEqual(result(answer('{"a":1}')), { status: 200, headers: {}, encoding: 'text', body: '{"a":1}' })
  assert.deepEqual(result(answer([0xff, 0xfe])), { status: 200, headers: {}, encoding: 'base64', body: '//4=' })
  const zipped = answer('{}', [...json, 'Content-Encoding', 'gzip', 'Set-Cookie', 'secret=1'])
  assert.deepEqual(result(zipped), {
    status: 200,
    headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
    encoding: 'base64',
    body: 'e30=',
  })
})

test('a result of as many bytes as may be is sent along, one of one more is not', () => {
  assert.equal((result(answer('x'.repeat(1000))) as { body: string }).body.length, 1000)
  assert.equal(result(answer('x'.repeat(1001))), undefined)
  assert.deepEqual(read(payloadOf({ id: 'a' }, undefined, 1000)), { id: 'a' })
})

test('whatever a server answers, the payload is JSON and gives it back', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      fc.boolean(),
      (bytes, isJson) => {
        const sent = answer(bytes, isJson ? ['content-type', 'application/json'] : [])
        const { encoding, body } = result(sent, 10_000) as { encoding: string; body: unknown }
        if (encoding === 'json') assert.deepEqual(body, JSON.parse(Buffer.from(bytes).toString()))
        else assert.deepEqual(Buffer.from(body as string, encoding === 'text' ? 'utf8' : 'base64'), Buffer.from(bytes))
      },
    ),
  )
})
