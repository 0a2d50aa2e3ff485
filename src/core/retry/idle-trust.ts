/**
 * Which kept connection may carry a request that cannot be sent a second time. A server may close one at any moment, also while a request
 * is on its way to it: then nobody can tell whether it was read. So such a request goes only on a connection that is idle for far less
 * time than this server is known to leave one open; a server of which nothing is known, or that has closed one early, gets it on a new one.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

/** What stood idle for so long shows that its server does not close at once. */
const PROOF_MS: Millis = 1000
/** So long after one was closed early none is trusted; each further time twice as long. */
const DOUBT_MS: Millis = 30_000
const DOUBT_MAX_MS: Millis = 3_600_000

/** Of one server. */
export class IdleTrust {
  readonly #proofMs: Millis
  /** For so long its connections stand idle. */
  #standsMs: Millis = 0
  #doubtUntil: MonotonicMillis = Number.NEGATIVE_INFINITY
  #doubtMs: Millis = DOUBT_MS

  /** `idleMs`: what no connection outlives, because we close it. */
  constructor(idleMs: Millis) {
    this.#proofMs = Math.min(PROOF_MS, idleMs)
  }

  /** One has been idle for so long and is still open; or the server has said that it will be. */
  stood(idleForMs: Millis): void {
    if (idleForMs > this.#standsMs) this.#standsMs = idleForMs
  }

  /** The server has closed one that was idle for so long. */
  closed(idleForMs: Millis, now: MonotonicMillis): void {
    if (idleForMs >= this.#proofMs) {
      this.#standsMs = Math.min(this.#standsMs, idleForMs)
      return
    }
    if (now >= this.#doubtUntil) {
      const isLongAgo = now - this.#doubtUntil > DOUBT_MAX_MS
      this.#doubtMs = isLongAgo ? DOUBT_MS : Math.min(DOUBT_MAX_MS, this.#doubtMs * 2)
    }
    this.#doubtUntil = now + this.#doubtMs
    this.#standsMs = 0
  }

  /** May one that has been idle for so long carry what cannot be sent again? */
  trusts(idleForMs: Millis, now: MonotonicMillis): boolean {
    if (this.#standsMs < this.#proofMs || now < this.#doubtUntil) return false
    return idleForMs <= this.#standsMs / 2
  }
}
