/**
 * What operators have changed about servers while the gateway runs. Kept in the store as notes, because who has drained a server at night does not
 * expect a restart to bring it back. One change at a time, so that nobody's is lost.
 */
import { readChange, sameChange, type ServerChange } from '../core/members/changes.ts'
import type { JobStore } from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

const NOTE = 'server/'
const NONE: ReadonlyMap<string, ServerChange> = new Map()

type Store = Pick<JobStore, 'notes' | 'command'>

export interface ChangesParts {
  readonly telemetry: Telemetry
  /** Changed servers, of all pools together. */
  readonly max: number
}

/** Why nothing was changed. */
export const TOO_MANY: unique symbol = Symbol('too many changes')

export class ServerChanges {
  readonly #parts: ChangesParts
  readonly #pools = new Map<string, Map<string, ServerChange>>()
  #store: Store | undefined
  #last: Promise<unknown> = Promise.resolve()

  constructor(parts: ChangesParts) {
    this.#parts = parts
  }

  /** Those that were made before the gateway started. */
  async restore(store: Store): Promise<void> {
    this.#store = store
    for (const { name, text } of await store.notes(NOTE)) {
      const [pool = '', server = ''] = name.slice(NOTE.length).split('/')
      const change = readChange(text)
      if (change !== undefined) this.#keep(pool, server, change)
    }
  }

  of(pool: string): ReadonlyMap<string, ServerChange> {
    return this.#pools.get(pool) ?? NONE
  }

  get size(): number {
    let size = 0
    for (const changes of this.#pools.values()) size += changes.size
    return size
  }

  /**
   * `decide` says what the change is from then on; undefined: none. Durable when it resolves; then `apply` was called, in one turn with it. Rejects
   * when the store failed: nothing has changed then.
   */
  change<T>(
    pool: string,
    server: string,
    decide: (now: ServerChange | undefined) => { readonly change: ServerChange | undefined } | { readonly refused: T },
    apply: () => void,
  ): Promise<T | typeof TOO_MANY | undefined> {
    const work = this.#last.then(async () => {
      const before = this.#pools.get(pool)?.get(server)
      const decided = decide(before)
      if ('refused' in decided) return decided.refused
      const { change } = decided
      if (sameChange(before, change)) return undefined
      if (before === undefined && this.size >= this.#parts.max) return TOO_MANY
      await this.#write([[server, change]], pool)
      apply()
      return undefined
    })
    this.#last = work.catch(() => undefined)
    return work
  }

  /** The file holds again, for these servers of the pool. Resolves with their number. */
  forget(pool: string, isMeant: (server: string, change: ServerChange) => boolean, apply: () => void): Promise<number> {
    const work = this.#last.then(async () => {
      const meant = [...this.of(pool)].filter(([server, change]) => isMeant(server, change))
      if (meant.length === 0) return 0
      await this.#write(
        meant.map(([server]) => [server, undefined]),
        pool,
      )
      apply()
      return meant.length
    })
    this.#last = work.catch(() => undefined)
    return work
  }

  get pools(): Iterable<string> {
    return this.#pools.keys()
  }

  async #write(changes: readonly (readonly [string, ServerChange | undefined])[], pool: string): Promise<void> {
    await this.#store?.command(
      changes.map(([server, change]) => ({
        kind: 'note',
        name: `${NOTE}${pool}/${server}`,
        ...(change !== undefined && { text: JSON.stringify(change) }),
      })),
    )
    for (const [server, change] of changes) {
      this.#keep(pool, server, change)
      this.#parts.telemetry.event({ type: 'server-changed', pool, server, change: describe(change) })
    }
  }

  #keep(pool: string, server: string, change: ServerChange | undefined): void {
    const changes = this.#pools.get(pool) ?? new Map<string, ServerChange>()
    if (change === undefined) changes.delete(server)
    else changes.set(server, change)
    if (changes.size === 0) this.#pools.delete(pool)
    else this.#pools.set(pool, changes)
  }
}

function describe(change: ServerChange | undefined): string {
  if (change === undefined) return 'as in the file'
  const { added, removed, weight, duty } = change
  const words = [added && 'added', removed && 'taken out', weight !== undefined && `weight ${weight}`, duty]
  return words.filter((word) => typeof word === 'string').join(', ')
}
