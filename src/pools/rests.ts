/** Servers that said "not now" (429, 503): their share rests for a while. One timer, for the first whose time is over. */
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { Server } from './server.ts'

export interface RestParts {
  readonly clock: Clock
  readonly servers: () => readonly Server[]
  /** It may be used again. */
  readonly rested: (server: Server) => void
}

export class Rests {
  readonly #parts: RestParts
  #timer: Timer | undefined
  #closed = false

  constructor(parts: RestParts) {
    this.#parts = parts
  }

  has(server: Server): boolean {
    return server.pausedUntil !== 0 && server.pausedUntil > this.#parts.clock.monotonic()
  }

  begin(server: Server, forMs: Millis): void {
    server.pausedUntil = Math.max(server.pausedUntil, this.#parts.clock.monotonic() + forMs)
    this.arm()
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  /** Anew, where somebody else has said how long they rest. */
  arm(): void {
    this.#timer?.cancel()
    const { clock, servers, rested } = this.#parts
    const now = clock.monotonic()
    const next = Math.min(...servers().map((server) => endOf(server, now)))
    if (next === Number.POSITIVE_INFINITY || this.#closed) return
    this.#timer = clock.after(next - now + 1, () => {
      for (const server of servers()) if (server.pausedUntil !== 0 && !this.has(server)) rested(server)
      this.arm()
    })
  }
}

function endOf({ pausedUntil }: Server, now: MonotonicMillis): MonotonicMillis {
  return pausedUntil > now ? pausedUntil : Number.POSITIVE_INFINITY
}
