/** Servers that are no members any more: what they have to do ends, or is broken off when the time is over; then they are gone. */
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { Server } from './server.ts'

export interface Left {
  readonly server: Server
  readonly afterMs: Millis
  /** Requests, attempts and tunnels that were broken off. */
  readonly cut: number
}

interface Departure {
  readonly since: MonotonicMillis
  readonly until: MonotonicMillis
  cut: number
  timer: Timer | undefined
}

export class Leaving {
  readonly #clock: Clock
  readonly #gone: (left: Left) => void
  readonly #departures = new Map<Server, Departure>()

  constructor(clock: Clock, gone: (left: Left) => void) {
    this.#clock = clock
    this.#gone = gone
  }

  get servers(): Iterable<Server> {
    return this.#departures.keys()
  }

  /** Nothing new is sent to it from now on. `forMs`: how long what runs may go on; Infinity: as long as it takes. */
  begin(server: Server, forMs: Millis): void {
    const since = this.#clock.monotonic()
    server.leaving = true
    const timer = forMs === Number.POSITIVE_INFINITY ? undefined : this.#clock.after(forMs, () => this.#cut(server, forMs))
    this.#departures.set(server, { since, until: since + forMs, cut: 0, timer })
    for (const link of [...server.links]) link.leave()
    this.lookAt(server)
  }

  /** Something that it had to do has ended. */
  lookAt(server: Server): void {
    const departure = this.#departures.get(server)
    if (departure === undefined || server.inFlight > 0 || server.tunnels > 0) return
    this.#forget(server)
    this.#gone({ server, afterMs: this.#clock.monotonic() - departure.since, cut: departure.cut })
  }

  /** It is wanted again. */
  comeBack(name: string): Server | undefined {
    for (const server of this.#departures.keys()) {
      if (server.name !== name) continue
      this.#forget(server)
      server.leaving = false
      return server
    }
    return undefined
  }

  /** By when it is gone; undefined: it does not leave. */
  untilOf(server: Server): MonotonicMillis | undefined {
    return this.#departures.get(server)?.until
  }

  close(): void {
    for (const { timer } of this.#departures.values()) timer?.cancel()
    this.#departures.clear()
  }

  #forget(server: Server): void {
    this.#departures.get(server)?.timer?.cancel()
    this.#departures.delete(server)
  }

  #cut(server: Server, forMs: Millis): void {
    const departure = this.#departures.get(server)
    if (departure === undefined) return
    departure.cut = server.inFlight + server.tunnels
    cutLinks(server, `the server was taken out of its pool, and drainTimeout (${forMs} ms) is over`)
    // What holds a slot without a connection (a hand-out that the store is asked about) ends by itself.
    this.lookAt(server)
  }
}

/** Connections that are kept are not used again, and new ones begin as they should now. */
export function leaveLinks(server: Server): void {
  for (const link of [...server.links]) link.leave()
}

export function cutLinks(server: Server, detail: string): void {
  for (const link of [...server.links]) link.cut(detail)
}
