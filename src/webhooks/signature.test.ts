import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { test } from 'node:test'
import { Webhook } from 'standardwebhooks'
import { systemRandom } from '../ports/system.ts'
import { newSecret, publicKeyOf, signaturesOf, validSecrets } from './signature.ts'

const body = Buffer.from('{"test": 2432232314}')
const message = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestampS: 1_614_265_330, body }

test('the published vector of Standard Webhooks', () => {
  assert.equal(signaturesOf(message, ['whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw']), 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=')
})

test('every secret signs, the first one first, and the library finds its own', () => {
  const secrets = [newSecret('v1', systemRandom), newSecret('v1a', systemRandom), newSecret('v1', systemRandom)]
  const now = { ...message, timestampS: Math.floor(Date.now() / 1000) }
  const signatures = signaturesOf(now, secrets)
  assert.deepEqual(
    signatures.split(' ').map((each) => each.split(',')[0]),
    ['v1', 'v1a', 'v1'],
  )
  const headers = { 'webhook-id': now.id, 'webhook-timestamp': String(now.timestampS), 'webhook-signature': signatures }
  for (const secret of [secrets[0], secrets[2]]) assert.deepEqual(new Webhook(secret as string).verify(body, headers), { test: 2432232314 })
  assert.throws(() => new Webhook(newSecret('v1', systemRandom)).verify(body, headers))
})

test('v1a is Ed25519 over the same text, checked with nothing but the public key', () => {
  const secret = newSecret('v1a', systemRandom)
  const [, signature = ''] = signaturesOf(message, [secret]).split(',')
  const raw = Buffer.from((publicKeyOf(secret) as string).slice('whpk_'.length), 'base64')
  const key = createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]), format: 'der', type: 'spki' })
  const signed = Buffer.from(`${message.id}.${message.timestampS}.${body.toString()}`)
  assert.ok(verify(null, signed, key, Buffer.from(signature, 'base64')))
  assert.ok(!verify(null, Buffer.concat([signed, Buffer.from(' ')]), key, Buffer.from(signature, 'base64')))
})

test('an Ed25519 key as published (RFC 8032, test 1) gives its public key, whether written with it or not', () => {
  const seed = Buffer.from('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60', 'hex')
  const known = Buffer.from('d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', 'hex')
  for (const bytes of [seed, Buffer.concat([seed, known])]) {
    assert.equal(publicKeyOf(`whsk_${bytes.toString('base64')}`), `whpk_${known.toString('base64')}`)
  }
  assert.equal(publicKeyOf('whsec_AAAA'), undefined)
})

test('a secret that has been replaced signs until its time is over', () => {
  const secrets = [{ secret: 'new' }, { secret: 'old', until: 1000 }]
  assert.equal(validSecrets(secrets, 999).length, 2)
  assert.deepEqual(validSecrets(secrets, 1000), [{ secret: 'new' }])
})
