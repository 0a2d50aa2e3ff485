import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Call } from '../ledger/calls.ts'
import { decodeBatch, decodeReply, encodeBatch, encodeReply } from './wire.ts'

const MOMENT = { now: 5, monotonic: 6 }
const REF = { id: '00000000001', fence: 3, secret: 's' }

/** Pieces of one pooled buffer, as they come from a socket. */
function payload(text: string): { head: Buffer; body: Buffer } {
  const slab = Buffer.from(`...["${text}"]body of ${text}...`)
  return { head: slab.subarray(3, 7 + text.length), body: slab.subarray(7 + text.length, -3) }
}

/** Bytes as text, what is undefined left out: comparable, whatever class holds the bytes. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('latin1')
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]))
}

const JOB = {
  queue: 'q',
  route: 'r',
  method: 'POST',
  priority: 4,
  attempts: 3,
  keepMs: 1,
  keepDeadMs: 1,
  sendOnce: false,
} as const

const CALLS: readonly Call[] = [
  {
    kind: 'submit',
    jobs: [
      { ...JOB, request: payload('a') },
      { ...JOB, key: '"k\u0000💥', request: payload('b') },
    ],
  },
  {
    kind: 'lease',
    requests: [
      { queue: 'q', server: 's', buckets: Uint8Array.from({ length: 32 }, (_, n) => n * 8), max: 2, stealUnkeyed: true, leaseMs: 1 },
    ],
  },
  { kind: 'extend', leases: [REF], forMs: 5 },
  {
    kind: 'settle',
    settlements: [
      { kind: 'succeed', lease: REF, answer: payload('c') },
      { kind: 'handBack', lease: REF, afterMs: 0 },
    ],
  },
  { kind: 'command', commands: [{ kind: 'cancel', id: 'x' }] },
  { kind: 'read', ids: ['x', 'y', 'z'], want: 'result' },
  { kind: 'tick' },
  { kind: 'stats' },
]

test('a batch arrives as it was sent, with its moment and its secrets', () => {
  const secrets = Buffer.from(Array.from({ length: 48 }, (_, n) => n))
  const { calls, context } = decodeBatch(encodeBatch(CALLS, MOMENT, secrets))
  assert.deepEqual(plain(calls), plain(CALLS))
  assert.deepEqual([context.now, context.monotonic], [5, 6])
  const given = [context.secret(), context.secret(), context.secret()]
  assert.deepEqual(
    given,
    [0, 16, 32].map((at) => secrets.toString('base64url', at, at + 16)),
  )
})

test('a batch gives no secret twice, unless all that was done is undone', () => {
  const { context } = decodeBatch(encodeBatch(CALLS, MOMENT, Buffer.from(Array.from({ length: 32 }, (_, n) => n))))
  const given = [context.secret(), context.secret()]
  assert.throws(() => context.secret(), /more secrets than it brought/)
  context.startOver()
  assert.deepEqual([context.secret(), context.secret()], given)
  assert.throws(() => context.secret(), /more secrets than it brought/)
})

test('all bodies travel in one buffer of their own size', () => {
  const batch = encodeBatch(CALLS, MOMENT, Buffer.alloc(16))
  const sizes = ['a', 'b', 'c'].reduce((sum, text) => sum + payload(text).head.length + payload(text).body.length, 16)
  assert.equal(batch.bytes.byteLength, sizes)
})

test('results arrive as they were given, errors too', () => {
  const job = { id: 'x' } as never
  const results = [
    { reply: [{ kind: 'created', job }] },
    { reply: [[{ ref: REF, job, request: payload('a'), stolen: false }], []] },
    { reply: ['stale'] },
    { error: 'no room' },
    { reply: [{ kind: 'missing' }] },
    { reply: [{ job }, undefined, { job, answer: payload('c') }] },
    { reply: { ready: [], changed: [] } },
    { reply: [] },
  ] as const
  const decoded = decodeReply(encodeReply(results as never, CALLS, []), CALLS)
  assert.deepEqual(plain(decoded), plain(results))
  const reads = decoded[5]
  assert.equal(
    reads !== undefined && 'reply' in reads && (reads.reply as readonly unknown[])[1],
    undefined,
    'what is not there is undefined',
  )
})

test('a reply for which there is no memory is an error for those who asked for bytes, and for nobody else', () => {
  const job = { id: 'x' } as never
  // No such array can be had; its length is all that is looked at.
  const endless = { head: Buffer.from('[]'), body: { length: 2 ** 52 } as Uint8Array }
  const read = { kind: 'read', ids: ['x'], want: 'result' } as const
  const results = [{ reply: ['stale'] }, { reply: [{ job, answer: endless }] }, { reply: [{ job }] }] as const
  const calls: readonly Call[] = [{ kind: 'extend', leases: [REF], forMs: 5 }, read, read]
  assert.deepEqual(decodeReply(encodeReply(results as never, calls, []), calls), [
    { reply: ['stale'] },
    { error: 'there is not enough memory for the reply' },
    { reply: [{ job }] },
  ])
})
