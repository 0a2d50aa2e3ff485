/** Who may do what with which queue: keys of the configuration, found by their tokens in a time that tells nothing about them. */
import { hash, timingSafeEqual } from 'node:crypto'
import type { ApiKeyConfig, ApiRight } from '../../config/config.ts'

export interface Caller {
  /** Of the key; empty for the admin address. */
  readonly name: string
  /** A queue that it does not see is, to it, not there. */
  sees(queue: string): boolean
  may(right: ApiRight, queue: string): boolean
  /** May a queue that it makes send to these servers? */
  mayName(pool: string): boolean
}

/** Whoever has passed the guard of the admin address. */
export const ADMIN: Caller = { name: '', sees: () => true, may: () => true, mayName: () => true }

interface KnownKey {
  readonly digest: Buffer
  readonly caller: Caller
}

export class ApiKeys {
  readonly #keys: readonly KnownKey[]

  constructor(keys: readonly ApiKeyConfig[]) {
    this.#keys = keys.map((key) => ({ digest: digest(key.token), caller: callerOf(key) }))
  }

  get any(): boolean {
    return this.#keys.length > 0
  }

  /** By `Authorization`. Looks at every key, also after it has found one. */
  find(authorization: string | undefined): Caller | undefined {
    const token = /^bearer +([^ ]+) *$/i.exec(authorization ?? '')?.[1] ?? ''
    const given = digest(token)
    let found: Caller | undefined
    // Digests are of one length, so the comparison tells nothing about the token's.
    for (const key of this.#keys) if (timingSafeEqual(given, key.digest)) found = key.caller
    return found
  }
}

function digest(token: string): Buffer {
  return hash('sha256', token, 'buffer')
}

function callerOf({ name, queues, can, pools = [] }: ApiKeyConfig): Caller {
  const exact = new Set(queues.filter((pattern) => !pattern.endsWith('*')))
  const prefixes = queues.filter((pattern) => pattern.endsWith('*')).map((pattern) => pattern.slice(0, -1))
  const rights = new Set(can)
  const sees = (queue: string): boolean => exact.has(queue) || prefixes.some((prefix) => queue.startsWith(prefix))
  return { name, sees, may: (right, queue) => rights.has(right) && sees(queue), mayName: (pool) => pools.includes(pool) }
}
