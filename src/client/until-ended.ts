/** Waiting for an end by long polls, over lost connections and gateways that are away. */
import { isPassing, SpillwayError } from './errors.ts'
import type { Http } from './http.ts'
import type { CallOptions } from './jobs.ts'
import { durationMs, type Duration, pauseMs, rest } from './timing.ts'

export interface WaitOptions extends CallOptions {
  /** Rejects with `timeout` after it. Default: for as long as it takes. */
  readonly timeout?: Duration
}

interface Polled<T> {
  readonly value?: T
  readonly retryAfterMs?: number | undefined
}

/** One long poll. */
const HELD_MS = 30_000

/** Asks until there is a value. */
export async function untilEnded<T>(http: Http, options: WaitOptions, ask: (heldMs: number) => Promise<Polled<T>>): Promise<T> {
  const { timeout, signal } = options
  const { retry } = http.options
  const endsAt = timeout === undefined ? Number.POSITIVE_INFINITY : performance.now() + durationMs(timeout, 'timeout')
  for (let failures = 0; ; ) {
    const startedAt = performance.now()
    if (startedAt >= endsAt) throw new SpillwayError('timeout', `there was no end within ${String(timeout)}`)
    const heldMs = Math.ceil(Math.min(HELD_MS, endsAt - startedAt))
    let pause: number
    try {
      const polled = await ask(heldMs)
      if (polled.value !== undefined) return polled.value
      failures = 0
      // One that was held for its whole time may ask again at once; one that was sent away (the gateway stops) comes back when it was told to.
      const sentAway = performance.now() - startedAt < heldMs / 2
      pause = sentAway ? pauseMs(1, retry, polled.retryAfterMs) : 0
    } catch (error) {
      if (!isPassing(error)) throw error
      pause = pauseMs(++failures, retry, error.retryAfterMs)
    }
    await rest(Math.min(pause, Math.max(0, endsAt - performance.now())), signal)
  }
}
