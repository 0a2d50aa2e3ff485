/**
 * Requests and answers encrypted before they reach an engine, and opened when they come back: AES-256-GCM over head and body. The first key
 * seals, all of them open. What the engine itself has to read (keys, references, tenants, errors, progress) is not sealed.
 *
 * Stored: 1, the length of the key's id, the id, nonce (12), tag (16), the encrypted head; and the encrypted body, as long as the plain one.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import type { Random } from '../../ports/clock.ts'
import type { Payload } from './tables.ts'

export interface SealingKey {
  readonly id: string
  /** 32 bytes. */
  readonly secret: Uint8Array
}

export type SealedKind = 'request' | 'answer'

/** `problem`: in words. */
export type Opened = { readonly payload: Payload } | { readonly problem: string }

const VERSION = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16
const SECRET_BYTES = 32
const PREFIX_BYTES = 8
const COUNTER_MAX = 2 ** 32
const ID_BYTES_MAX = 255

export class Sealer {
  readonly #keys: ReadonlyMap<string, Uint8Array>
  readonly #first: SealingKey
  readonly #random: Pick<Random, 'bytes'>
  /** A nonce is this, random for each process, and a counter: under one key none may ever come twice. */
  #prefix: Uint8Array
  #counter = 0

  constructor(keys: readonly SealingKey[], random: Pick<Random, 'bytes'>) {
    const [first] = keys
    if (first === undefined) throw new TypeError('encryption needs a key')
    for (const { id, secret } of keys) {
      if (secret.length !== SECRET_BYTES) throw new TypeError(`the secret of key ${id} must have ${SECRET_BYTES} bytes`)
      if (Buffer.byteLength(id) > ID_BYTES_MAX) throw new TypeError(`the id of key ${id} is too long`)
    }
    this.#first = first
    this.#keys = new Map(keys.map(({ id, secret }) => [id, secret]))
    this.#random = random
    this.#prefix = random.bytes(PREFIX_BYTES)
  }

  seal(kind: SealedKind, { head, body }: Payload): Payload {
    const { id, secret } = this.#first
    const nonce = this.#nonce()
    const cipher = createCipheriv('aes-256-gcm', secret, nonce)
    cipher.setAAD(bound(kind, id))
    const sealedHead = cipher.update(head)
    const sealedBody = cipher.update(body)
    cipher.final()
    const name = Buffer.from(id)
    return { head: Buffer.concat([Buffer.from([VERSION, name.length]), name, nonce, cipher.getAuthTag(), sealedHead]), body: sealedBody }
  }

  /** What is not sealed is given back as it is: it was stored before there was a key. */
  open(kind: SealedKind, payload: Payload): Opened {
    const id = keyIdOf(payload)
    if (id === undefined) return { payload }
    const secret = this.#keys.get(id)
    if (secret === undefined) return { problem: `it is encrypted with the key ${id}, which is not configured` }
    const at = 2 + Buffer.byteLength(id)
    const { head, body } = payload
    const tagAt = at + NONCE_BYTES
    const textAt = tagAt + TAG_BYTES
    const decipher = createDecipheriv('aes-256-gcm', secret, head.subarray(at, tagAt), { authTagLength: TAG_BYTES })
    try {
      decipher.setAAD(bound(kind, id))
      decipher.setAuthTag(head.subarray(tagAt, textAt))
      const opened = { head: decipher.update(head.subarray(textAt)), body: decipher.update(body) }
      decipher.final()
      return { payload: opened }
    } catch {
      return { problem: `it cannot be decrypted with the key ${id}: the secret is another one, or it was changed` }
    }
  }

  /** True: by the first key already. */
  isFresh(payload: Payload): boolean {
    return keyIdOf(payload) === this.#first.id
  }

  #nonce(): Uint8Array {
    if (this.#counter === COUNTER_MAX) {
      this.#prefix = this.#random.bytes(PREFIX_BYTES)
      this.#counter = 0
    }
    const nonce = Buffer.alloc(NONCE_BYTES)
    nonce.set(this.#prefix)
    nonce.writeUInt32BE(this.#counter, PREFIX_BYTES)
    this.#counter += 1
    return nonce
  }
}

/** undefined: it is not sealed. A plain head is JSON text and begins with a bracket. */
export function keyIdOf({ head }: Payload): string | undefined {
  if (head[0] !== VERSION) return undefined
  const length = head[1] ?? 0
  if (head.length < 2 + length + NONCE_BYTES + TAG_BYTES) return undefined
  return Buffer.from(head.subarray(2, 2 + length)).toString()
}

/** A request cannot pass for an answer, nor what one key sealed for another's. */
function bound(kind: SealedKind, id: string): Uint8Array {
  return Buffer.from(`spillway ${VERSION} ${kind} ${id}`)
}
