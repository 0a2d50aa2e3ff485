/**
 * Signatures of Standard Webhooks (spec 1.0): of `<id>.<timestamp>.<body>`, `v1` by HMAC-SHA256 with a shared secret (`whsec_`), `v1a` by Ed25519
 * (`whsk_`, of which the receiver knows only `whpk_`). Every secret signs, so that secrets can be changed without a gap.
 */
import { createHmac, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import type { EpochMillis } from '../lib/units.ts'
import type { Random } from '../ports/clock.ts'

const SECRET_BYTES = 32
/** Before the seed of an Ed25519 key in PKCS#8 (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')

export interface SignedMessage {
  readonly id: string
  readonly timestampS: number
  readonly body: Uint8Array
}

/** The values of `webhook-signature`, the first secret's first. */
export function signaturesOf(message: SignedMessage, secrets: readonly string[]): string {
  const signed = Buffer.concat([Buffer.from(`${message.id}.${message.timestampS}.`), message.body])
  return secrets.map((secret) => signatureBy(secret, signed)).join(' ')
}

function signatureBy(secret: string, signed: Buffer): string {
  const [kind, digits = ''] = secret.split('_')
  const key = Buffer.from(digits, 'base64')
  if (kind === 'whsec') return `v1,${createHmac('sha256', key).update(signed).digest('base64')}`
  return `v1a,${sign(null, signed, privateKeyOf(key)).toString('base64')}`
}

/** Of a seed, or of seed and public key. */
function privateKeyOf(key: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8, key.subarray(0, SECRET_BYTES)]), format: 'der', type: 'pkcs8' })
}

/** What a receiver checks `v1a` with; undefined: the secret is shared. */
export function publicKeyOf(secret: string): string | undefined {
  if (!secret.startsWith('whsk_')) return undefined
  return `whpk_${publicBytes(Buffer.from(secret.slice('whsk_'.length), 'base64')).toString('base64')}`
}

function publicBytes(seed: Buffer): Buffer {
  return createPublicKey(privateKeyOf(seed)).export({ format: 'der', type: 'spki' }).subarray(-SECRET_BYTES)
}

export type SignatureKind = 'v1' | 'v1a'

export function kindOf(secret: string): SignatureKind {
  return secret.startsWith('whsk_') ? 'v1a' : 'v1'
}

export function newSecret(kind: SignatureKind, random: Random): string {
  const bytes = random.bytes(SECRET_BYTES)
  return kind === 'v1' ? `whsec_${bytes.toString('base64')}` : `whsk_${Buffer.concat([bytes, publicBytes(bytes)]).toString('base64')}`
}

/** A secret that has been replaced signs on for a while. */
export interface KeptSecret {
  readonly secret: string
  readonly until?: EpochMillis
}

export function validSecrets(secrets: readonly KeptSecret[], now: EpochMillis): readonly KeptSecret[] {
  return secrets.filter(({ until }) => until === undefined || until > now)
}
