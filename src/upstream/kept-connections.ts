/** Connections to one server that stand idle and can serve again, and what is known of how long its server leaves them open. */
import { IdleTrust } from '../core/retry/idle-trust.ts'
import type { Millis } from '../lib/units.ts'
import type { UpstreamConnection } from '../net/upstream-connection.ts'
import type { Clock } from '../ports/clock.ts'

export class KeptConnections {
  /** The one that was used last is the last. */
  readonly #idle: UpstreamConnection[] = []
  readonly #trust: IdleTrust
  readonly #clock: Clock
  readonly #max: () => number

  /** `max`: more are never in use at once, so more are of no use. */
  constructor(clock: Clock, idleMs: Millis, max: () => number) {
    this.#clock = clock
    this.#trust = new IdleTrust(idleMs)
    this.#max = max
  }

  get size(): number {
    return this.#idle.length
  }

  /** The one that was used last. `onlyOnce`: it shall carry what cannot be sent again. */
  take(onlyOnce: boolean): UpstreamConnection | undefined {
    const last = this.#idle.at(-1)
    if (last === undefined || (onlyOnce && !this.#mayCarryOnce(last))) return undefined
    return this.#idle.pop()
  }

  #mayCarryOnce(last: UpstreamConnection): boolean {
    const now = this.#clock.monotonic()
    const longest = this.#idle[0] as UpstreamConnection
    this.#trust.stood(now - longest.usedAt)
    return this.#trust.trusts(now - last.usedAt, now)
  }

  /** It can serve again. Where there are enough, the one used last before it goes: the oldest shows how long they stand. */
  keep(connection: UpstreamConnection): void {
    if (connection.promisedMs > 0) this.#trust.stood(connection.promisedMs)
    const max = this.#max()
    if (max === 0) return connection.destroy()
    // One that stands, and one that is used.
    if (this.#idle.length >= Math.max(2, max)) this.#idle.pop()?.destroy()
    this.#idle.push(connection)
  }

  /** It has ended. `byServer`: while it was idle, or before it had answered a byte of the next request. */
  ended(connection: UpstreamConnection, byServer: boolean): void {
    const at = this.#idle.lastIndexOf(connection)
    if (at >= 0) this.#idle.splice(at, 1)
    if (at < 0 && !byServer) return
    const now = this.#clock.monotonic()
    if (byServer) this.#trust.closed(now - connection.usedAt, now)
    else this.#trust.stood(now - connection.usedAt)
  }

  close(): void {
    for (const connection of [...this.#idle]) connection.destroy()
  }
}
