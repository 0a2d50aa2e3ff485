/** Requests that wait for a slot of any server of their pool: in one bounded line, each until its time is over, or until it has to make room. */
import { type AdaptiveRules, type Place, PRIORITY_DEFAULT, WaitList } from '../core/admission/wait-list.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { Server } from './server.ts'

/**
 * Why somebody waits no longer: its `time` is over, the line stands and it is `old`, it made `room` for somebody more urgent, or what it waits
 * for is gone, and there may be something `elsewhere`.
 */
export type WaitEnd = 'time' | 'old' | 'room' | 'elsewhere'

export interface Waiter {
  /** A slot of this server is yours. */
  grant(server: Server): void
  /** There will be none. */
  expire(why: WaitEnd): void
  /** False: nobody is left whom it would serve. It gets no slot, and leaves by itself. */
  readonly wanted: boolean
  /** True: another pool would serve it now, and this one would not. */
  readonly hasOtherPool?: boolean
}

export interface Wait {
  readonly forMs: Millis
  /** Servers that are of no use to it. */
  readonly excluded?: ReadonlySet<Server> | undefined
  /** Only this one will do. */
  readonly bound?: Server | undefined
  /** Others of the same must not pass it, nor it them. */
  readonly key?: string | undefined
  /** 0 to 9, 9 first. */
  readonly priority?: number
  /** How full the line may be at most for it to get in, as a share of what it may hold. */
  readonly fillMax?: number
}

interface Entry {
  readonly waiter: Waiter
  readonly excluded: ReadonlySet<Server> | undefined
  readonly bound: Server | undefined
  readonly joinedAt: MonotonicMillis
  readonly untilAt: MonotonicMillis
}

/** Who is told how waits end. */
export interface WaitObserver {
  served(waitedMs: Millis): void
  count(why: WaitEnd): void
  /** So many are in line now. */
  size?(waiting: number): void
}

const EXPIRY_RESOLUTION_MS: Millis = 20

export class Line {
  readonly #clock: Clock
  readonly #list: WaitList<Entry>
  readonly #observer: WaitObserver
  #timer: Timer | undefined
  #closed = false

  constructor(clock: Clock, rules: AdaptiveRules | undefined, observer: WaitObserver) {
    this.#clock = clock
    this.#list = new WaitList(rules)
    this.#observer = observer
  }

  /** Other rules hold from now on. */
  reconfigure(rules: AdaptiveRules | undefined): void {
    this.#list.goBy(rules)
  }

  get size(): number {
    return this.#list.size
  }

  get stands(): boolean {
    return this.#list.stands
  }

  /** The returned function leaves the line. */
  join(waiter: Waiter, { forMs, excluded, bound, key, priority = PRIORITY_DEFAULT }: Wait): () => void {
    const now = this.#clock.monotonic()
    const place = this.#list.add({ value: { waiter, excluded, bound, joinedAt: now, untilAt: now + forMs }, key, priority }, now)
    this.#timer ??= this.#clock.after(EXPIRY_RESOLUTION_MS, this.#expireSome)
    this.#tellSize()
    return () => {
      this.#list.remove(place)
      this.#tellSize()
    }
  }

  /** Somebody who would be served later than one of this priority leaves, if there is one. */
  makeRoom(priority: number = PRIORITY_DEFAULT): boolean {
    const place = this.#list.lastBelow(priority)
    if (place === undefined) return false
    this.#end(place, 'room')
    return true
  }

  /** Whose turn it is at this server; out of the line with that. `before`: nobody who could use one of these. `boundOnly`: nobody new. */
  next(server: Server, before: readonly Server[] = [], boundOnly = false): Waiter | undefined {
    const canUse = ({ excluded, bound, waiter }: Entry): boolean => {
      if (!waiter.wanted || excluded?.has(server) === true) return false
      if (bound === undefined ? boundOnly : bound !== server) return false
      return before.every((other) => excluded?.has(other) === true)
    }
    const now = this.#clock.monotonic()
    const entry = this.#list.take(now, canUse)
    if (entry !== undefined) {
      this.#observer.served(now - entry.joinedAt)
      this.#tellSize()
    }
    return entry?.waiter
  }

  /** There is nothing to wait for any more: for anybody, or who is bound to this server. */
  expireAll(bound?: Server): void {
    for (const place of this.#list) if (bound === undefined || place.value.bound === bound) this.#end(place, 'elsewhere')
  }

  /** Whoever another pool would serve goes there; the others have nothing better than to wait. */
  sendElsewhere(): void {
    for (const place of this.#list) if (place.value.waiter.hasOtherPool === true) this.#end(place, 'elsewhere')
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    for (const place of this.#list) this.#end(place, 'time')
  }

  readonly #expireSome = (): void => {
    const now = this.#clock.monotonic()
    for (const place of this.#list) {
      if (place.value.untilAt <= now) this.#end(place, 'time')
      else if (this.#list.isOld(place, now)) this.#end(place, 'old')
    }
    this.#timer = this.#list.size === 0 || this.#closed ? undefined : this.#clock.after(EXPIRY_RESOLUTION_MS, this.#expireSome)
  }

  #tellSize(): void {
    this.#observer.size?.(this.#list.size)
  }

  #end(place: Place<Entry>, why: WaitEnd): void {
    this.#list.remove(place)
    this.#observer.count(why)
    this.#tellSize()
    place.value.waiter.expire(why)
  }
}
