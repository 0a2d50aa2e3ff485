/** Sealing: only who has the key reads it, and only as what it was. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemRandom } from '../../ports/system.ts'
import { keyIdOf, Sealer } from './sealed.ts'
import type { Payload } from './tables.ts'

const A = { id: 'a', secret: Buffer.alloc(32, 'a') }
const B = { id: 'b', secret: Buffer.alloc(32, 'b') }
const PLAIN: Payload = { head: Buffer.from('["POST","/x",["Authorization","Bearer t"]]'), body: Buffer.from('a secret body') }

function plain(opened: ReturnType<Sealer['open']>): readonly string[] {
  assert.ok('payload' in opened, JSON.stringify(opened))
  return [Buffer.from(opened.payload.head).toString(), Buffer.from(opened.payload.body).toString()]
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

test('what was sealed is opened by the same key, and says nothing to who has not got it', () => {
  const sealer = new Sealer([A], systemRandom)
  const sealed = sealer.seal('request', PLAIN)
  assert.deepEqual(plain(sealer.open('request', sealed)), [PLAIN.head.toString(), PLAIN.body.toString()])
  const stored = Buffer.concat([sealed.head, sealed.body])
  // Four bytes and more: shorter ones stand in random bytes now and then.
  for (const word of ['secret', 'Bearer', 'POST', '"/x"']) assert.ok(!stored.includes(word))
  assert.deepEqual([keyIdOf(sealed), sealed.body.length], ['a', PLAIN.body.length])
})

test('the first key seals, all of them open', () => {
  const before = new Sealer([A], systemRandom).seal('answer', PLAIN)
  const rotated = new Sealer([B, A], systemRandom)
  plain(rotated.open('answer', before))
  assert.deepEqual([rotated.isFresh(before), rotated.isFresh(rotated.seal('answer', PLAIN))], [false, true])
})

test('what is not sealed stays as it is', () => {
  assert.deepEqual(plain(new Sealer([A], systemRandom).open('request', PLAIN)), [PLAIN.head.toString(), PLAIN.body.toString()])
})

test('a key that is missing is named, and so is one with another secret', () => {
  const sealed = new Sealer([A], systemRandom).seal('request', PLAIN)
  assert.deepEqual(new Sealer([B], systemRandom).open('request', sealed), {
    problem: 'it is encrypted with the key a, which is not configured',
  })
  const other = new Sealer([{ ...B, id: 'a' }], systemRandom).open('request', sealed)
  assert.match('problem' in other ? other.problem : '', /cannot be decrypted with the key a/)
})

test('a changed bit anywhere is noticed, and a request does not pass for an answer', () => {
  const sealer = new Sealer([A], systemRandom)
  const sealed = sealer.seal('request', PLAIN)
  assert.ok('problem' in sealer.open('answer', sealed))
  // From the key's id on: what comes before says how to read it.
  for (let at = 2; at < sealed.head.length; at++)
    assert.ok('problem' in sealer.open('request', { ...sealed, head: flipped(sealed.head, at) }), `head ${at}`)
  for (let at = 0; at < sealed.body.length; at++)
    assert.ok('problem' in sealer.open('request', { ...sealed, body: flipped(sealed.body, at) }), `body ${at}`)
})

test('no nonce comes twice, also not from another process with the same key', () => {
  const nonces = new Set<string>()
  for (const sealer of [new Sealer([A], systemRandom), new Sealer([A], systemRandom)]) {
    for (let n = 0; n < 1000; n++) nonces.add(Buffer.from(sealer.seal('request', PLAIN).head.subarray(3, 15)).toString('hex'))
  }
  assert.equal(nonces.size, 2000)
})

test('a key must have 32 bytes, and there must be one', () => {
  for (const length of [31, 33])
    assert.throws(() => new Sealer([{ id: 'a', secret: Buffer.alloc(length) }], systemRandom), /must have 32 bytes/)
  assert.throws(() => new Sealer([], systemRandom), /needs a key/)
})
