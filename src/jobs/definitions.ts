/**
 * Which queues there are, and what is set for each: those of the configuration, those that were made by the queue API, and those of which only
 * their jobs are left. What the API made is kept in the store as the document that it was given, and read again at the start; where the
 * configuration names the same queue, the configuration counts.
 */
import type { QueueConfig } from '../config/config.ts'
import { parseExactly } from '../lib/exact-json.ts'
import type { QueueName } from '../ports/job-store.ts'

/** `none`: no longer defined. It can be looked into and emptied. */
export type Origin = 'file' | 'api' | 'none'

export interface DefinedQueue {
  readonly config: QueueConfig
  readonly origin: Origin
  /** As it was given to the API. */
  readonly document?: unknown
}

/** Kept with the queue in the store. */
export interface StoredDefinition {
  readonly origin: Origin
  readonly document: unknown
}

export class Definitions {
  readonly #queues = new Map<QueueName, DefinedQueue>()

  constructor(queues: readonly QueueConfig[]) {
    for (const config of queues) this.#queues.set(config.name, { config, origin: 'file' })
  }

  /** Those of the configuration, from now on. Gives what was in it before and is no longer. */
  reload(queues: readonly QueueConfig[]): readonly QueueName[] {
    const before = [...this.#queues].filter(([, { origin }]) => origin === 'file').map(([name]) => name)
    for (const config of queues) this.#queues.set(config.name, { config, origin: 'file' })
    return before.filter((name) => !queues.some((queue) => queue.name === name))
  }

  get(name: QueueName): DefinedQueue | undefined {
    return this.#queues.get(name)
  }

  set(queue: DefinedQueue): void {
    this.#queues.set(queue.config.name, queue)
  }

  delete(name: QueueName): void {
    this.#queues.delete(name)
  }

  /** How many were made over the API. */
  get made(): number {
    let made = 0
    for (const { origin } of this.#queues.values()) if (origin === 'api') made++
    return made
  }

  all(): Iterable<DefinedQueue> {
    return this.#queues.values()
  }
}

export function storedText(origin: Origin, document: unknown): string {
  return JSON.stringify({ origin, document } satisfies StoredDefinition)
}

/** Undefined: it was not written by us. */
export function storedDefinition(text: string | undefined): StoredDefinition | undefined {
  if (text === undefined) return undefined
  try {
    const stored = parseExactly(text) as Partial<StoredDefinition> | null
    return stored?.origin === 'api' || stored?.origin === 'file' ? { origin: stored.origin, document: stored.document } : undefined
  } catch {
    return undefined
  }
}
