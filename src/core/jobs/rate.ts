/**
 * A rate as a bucket of tokens: it holds `count` of them, gets them back evenly over `perMs`, and each pass takes one. So over any span
 * no more pass than `count` and what the span brings.
 */
import type { Rate } from '../../lib/rate.ts'
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

export interface TokenBucket {
  readonly tokens: number
  readonly at: MonotonicMillis
}

/** The bucket as it is now; a new one is full. Time that goes back brings nothing. */
export function refilled(bucket: TokenBucket | undefined, rate: Rate, now: MonotonicMillis): TokenBucket {
  if (bucket === undefined) return { tokens: rate.count, at: now }
  const brought = (Math.max(0, now - bucket.at) * rate.count) / rate.perMs
  return { tokens: Math.min(rate.count, bucket.tokens + brought), at: now }
}

export function isFull(bucket: TokenBucket, rate: Rate): boolean {
  return bucket.tokens >= rate.count
}

/** How long until one may pass; 0: now. */
export function waitFor(bucket: TokenBucket, rate: Rate): Millis {
  // What is missing by a rounding error is not worth a timer.
  return bucket.tokens > 1 - 1e-9 ? 0 : Math.ceil(((1 - bucket.tokens) * rate.perMs) / rate.count)
}

export function taken(bucket: TokenBucket): TokenBucket {
  return { tokens: Math.max(0, bucket.tokens - 1), at: bucket.at }
}
