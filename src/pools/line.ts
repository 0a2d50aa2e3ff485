/** Requests that wait for a slot of any server of their pool: in one bounded line, each until its time is over. */
import { WaitList } from '../core/balancing/wait-list.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { Server } from './server.ts'

export interface Waiter {
  /** A slot of this server is yours. */
  grant(server: Server): void
  /** Time is up. */
  expire(): void
  /** False: nobody is left whom it would serve. It gets no slot, and leaves by itself. */
  readonly wanted: boolean
}

export interface Wait {
  readonly forMs: Millis
  /** Servers that are of no use to it. */
  readonly excluded?: ReadonlySet<Server> | undefined
  /** It must not be passed by others that have an order. */
  readonly ordered?: boolean
}

interface Entry {
  readonly waiter: Waiter
  readonly excluded: ReadonlySet<Server> | undefined
  readonly untilAt: MonotonicMillis
}

const EXPIRY_RESOLUTION_MS: Millis = 20

export class Line {
  readonly #clock: Clock
  readonly #list = new WaitList<Entry>()
  #timer: Timer | undefined
  #closed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#list.size
  }

  /** The returned function leaves the line. */
  join(waiter: Waiter, { forMs, excluded, ordered = false }: Wait): () => void {
    const now = this.#clock.monotonic()
    const place = this.#list.add({ waiter, excluded, untilAt: now + forMs }, ordered, now)
    this.#timer ??= this.#clock.after(EXPIRY_RESOLUTION_MS, this.#expireSome)
    return () => this.#list.remove(place)
  }

  /** Whose turn it is at this server; out of the line with that. `before`: nobody who could use one of these. */
  next(server: Server, before: readonly Server[] = []): Waiter | undefined {
    const canUse = ({ excluded, waiter }: Entry): boolean =>
      excluded?.has(server) !== true && waiter.wanted && before.every((other) => excluded?.has(other) === true)
    return this.#list.take(this.#clock.monotonic(), canUse)?.waiter
  }

  /** There is nothing to wait for any more. */
  expireAll(): void {
    this.#expire(() => true)
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#expire(() => true)
  }

  readonly #expireSome = (): void => {
    const now = this.#clock.monotonic()
    this.#expire(({ untilAt }) => untilAt <= now)
    this.#timer = this.#list.size === 0 || this.#closed ? undefined : this.#clock.after(EXPIRY_RESOLUTION_MS, this.#expireSome)
  }

  #expire(isOver: (entry: Entry) => boolean): void {
    for (const place of this.#list) {
      if (!isOver(place.value)) continue
      this.#list.remove(place)
      place.value.waiter.expire()
    }
  }
}
