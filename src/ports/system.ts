/** The real clock and the real randomness of this machine. */
import { randomFillSync } from 'node:crypto'
import type { Clock, Random } from './clock.ts'

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delay, fn) {
    const timer = setTimeout(fn, delay)
    timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
}

/** Asking the system costs the same for 16 bytes as for thousands, so it is asked for many at once. */
const POOL_BYTES = 4096
let pool = Buffer.alloc(0)

export const systemRandom: Random = {
  unit: () => Math.random(),
  bytes(count) {
    if (count > POOL_BYTES) return randomFillSync(Buffer.alloc(count))
    if (pool.length < count) pool = randomFillSync(Buffer.alloc(POOL_BYTES))
    const taken = Buffer.from(pool.subarray(0, count))
    pool = pool.subarray(count)
    return taken
  },
}
