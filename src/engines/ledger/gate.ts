/** How fast a queue and each of its keys may be handed out. In memory: after a restart the buckets are full again. */
import { isFull, refilled, taken, type TokenBucket, waitFor } from '../../core/jobs/rate.ts'
import type { Rate } from '../../lib/rate.ts'
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

export class Gate {
  /** Keys whose buckets are remembered; beyond it, those that were used longest ago begin anew. */
  readonly #keysMax: number
  #all: TokenBucket | undefined
  readonly #keys = new Map<string, TokenBucket>()

  constructor(keysMax: number) {
    this.#keysMax = keysMax
  }

  /** How long until the queue may hand out another; 0: now. */
  waitFor(rate: Rate | undefined, now: MonotonicMillis): Millis {
    if (rate === undefined) return 0
    this.#all = refilled(this.#all, rate, now)
    return waitFor(this.#all, rate)
  }

  /** The same for one key. */
  waitForKey(key: string | undefined, rate: Rate | undefined, now: MonotonicMillis): Millis {
    const bucket = key === undefined ? undefined : this.#keys.get(key)
    return bucket === undefined || rate === undefined ? 0 : waitFor(refilled(bucket, rate, now), rate)
  }

  /** One was handed out. */
  passed(key: string | undefined, rates: { readonly rate?: Rate; readonly keyRate?: Rate }, now: MonotonicMillis): void {
    const { rate, keyRate } = rates
    if (rate !== undefined) this.#all = taken(refilled(this.#all, rate, now))
    if (key === undefined || keyRate === undefined) return
    const bucket = taken(refilled(this.#keys.get(key), keyRate, now))
    this.#keys.delete(key)
    this.#keys.set(key, bucket)
    this.#forget(keyRate, now)
  }

  /** The key that was used longest ago: when its bucket is full, or when there are too many. */
  #forget(rate: Rate, now: MonotonicMillis): void {
    for (const [key, bucket] of this.#keys) {
      if (this.#keys.size <= this.#keysMax && !isFull(refilled(bucket, rate, now), rate)) return
      this.#keys.delete(key)
      return
    }
  }
}
