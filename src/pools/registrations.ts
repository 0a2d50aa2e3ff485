/**
 * Servers that have registered themselves, for as long as they are heard of. They are kept in the store as well, so that a restart or an upgrade is
 * no gap: then each has its whole time to be heard of again. Nobody waits for the store, since what it lacks comes back with the next heartbeat.
 */
import {
  type AskedRegistration,
  nextEnd,
  readRegistration,
  type Registering,
  type Registration,
  registering,
  silent,
} from '../core/members/registrations.ts'
import type { MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { JobStore } from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

const NOTE = 'registered/'
const NONE: ReadonlyMap<string, Registration> = new Map()

type Store = Pick<JobStore, 'notes' | 'command'>

export interface RegistrationsParts {
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** Others are registered in that pool now, or with another weight. */
  readonly changed: (pool: string) => void
}

export class Registrations {
  readonly #parts: RegistrationsParts
  readonly #pools = new Map<string, Map<string, Registration>>()
  #store: Store | undefined
  #timer: Timer | undefined
  #timerAt: MonotonicMillis = Number.POSITIVE_INFINITY

  constructor(parts: RegistrationsParts) {
    this.#parts = parts
  }

  /** Who was registered when the gateway ended. */
  async restore(store: Store): Promise<void> {
    this.#store = store
    for (const { name, text } of await store.notes(NOTE)) {
      const [pool = '', server = ''] = name.slice(NOTE.length).split('/')
      const asked = readRegistration(text)
      if (asked !== undefined) this.#set(pool, server, asked)
    }
  }

  of(pool: string): ReadonlyMap<string, Registration> {
    return this.#pools.get(pool) ?? NONE
  }

  register(pool: string, server: string, { asked, max }: { readonly asked: AskedRegistration; readonly max: number }): Registering {
    const before = this.of(pool).get(server)
    const outcome = registering(this.of(pool), server, { asked, max })
    if (outcome === 'too-many') return outcome
    this.#set(pool, server, asked)
    if (outcome !== 'again' || before?.ttlMs !== asked.ttlMs) this.#write(pool, server, asked)
    if (outcome !== 'again') this.#parts.changed(pool)
    return outcome
  }

  /** False: it was not registered. */
  deregister(pool: string, server: string): boolean {
    if (!this.of(pool).has(server)) return false
    this.#end(pool, server, 'it has deregistered')
    this.#parts.changed(pool)
    return true
  }

  /** Only these may be registered from now on. Whoever says so makes the pools anew. */
  keepOnly(mayBe: (pool: string, server: string) => boolean): void {
    for (const [pool, known] of [...this.#pools])
      for (const server of [...known.keys()])
        if (!mayBe(pool, server)) this.#end(pool, server, 'the configuration does not let it register any more')
  }

  /** Another process has the store from now on, and hears of them: here they stay as they are. */
  leaveStore(): void {
    this.#store = undefined
    this.#timer?.cancel()
  }

  close(): void {
    this.#store = undefined
    this.#timer?.cancel()
    this.#pools.clear()
  }

  #set(pool: string, server: string, asked: AskedRegistration): void {
    const until = this.#parts.clock.monotonic() + asked.ttlMs
    const known = this.#pools.get(pool) ?? new Map<string, Registration>()
    known.set(server, { ...asked, until })
    this.#pools.set(pool, known)
    if (until < this.#timerAt) this.#arm(until)
  }

  #end(pool: string, server: string, reason: string): void {
    const known = this.#pools.get(pool)
    known?.delete(server)
    if (known?.size === 0) this.#pools.delete(pool)
    this.#parts.telemetry.event({ type: 'registration-ended', pool, server, reason })
    this.#write(pool, server, undefined)
  }

  /** Heartbeats do not move it: it looks when the one that was next would have ended, and then for the next one. */
  #arm(at: MonotonicMillis | undefined): void {
    this.#timer?.cancel()
    this.#timerAt = at ?? Number.POSITIVE_INFINITY
    this.#timer =
      at === undefined ? undefined : this.#parts.clock.after(Math.max(1, at - this.#parts.clock.monotonic()), () => this.#look())
  }

  #look(): void {
    const now = this.#parts.clock.monotonic()
    for (const [pool, known] of [...this.#pools]) {
      const gone = silent(known, now)
      for (const server of gone) this.#end(pool, server, `it was not heard of for ${known.get(server)?.ttlMs} ms`)
      if (gone.length > 0) this.#parts.changed(pool)
    }
    this.#arm(nextEnd(this.#pools.values()))
  }

  #write(pool: string, server: string, asked: AskedRegistration | undefined): void {
    const text = asked && JSON.stringify({ weight: asked.weight, ttlMs: asked.ttlMs })
    this.#store
      ?.command([{ kind: 'note', name: `${NOTE}${pool}/${server}`, ...(text !== undefined && { text }) }])
      .catch((error: unknown) => {
        const message = `registration of ${server} in pool ${pool}: the store did not keep it, a restart does not know it: ${String(error)}`
        this.#parts.telemetry.event({ type: 'warning', message })
      })
  }
}
