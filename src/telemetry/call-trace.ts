/**
 * What is noted of one call on its way: how long it waited, which servers were tried and how each try ended. Made only where somebody will
 * read it; without that a call has none, and notes nothing.
 */
import type { Phase } from '../core/calls/termination.ts'
import type { Bytes, Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'

/** A connection, as far as a try has to be told of. */
export interface TriedConnection {
  /** Exchanges before this one. */
  readonly served: number
  /** How long it took to connect. Undefined: it is not open yet. */
  readonly connectMs: Millis | undefined
  /** Of this exchange. */
  readonly bytesUp: Bytes
  readonly bytesDown: Bytes
}

export interface TriedServer {
  readonly name: string
  readonly pool: string
}

/** One time that the request was given to a server. */
export class TryNote {
  readonly server: string
  /** Since the call began. */
  readonly atMs: Millis
  /** Why it was not the first, or what it was for: `hedge`, `mirror`. */
  readonly why: string | undefined
  reused = false
  status: number | undefined
  connectMs: Millis | undefined
  firstByteMs: Millis | undefined
  tookMs: Millis | undefined
  bytesUp: Bytes = 0
  bytesDown: Bytes = 0
  /** `answered`, `abandoned`, `outrun`, or the code of an error. */
  outcome = 'running'
  readonly #clock: Clock
  readonly #beganAt: MonotonicMillis
  #connection: TriedConnection | undefined

  constructor(server: string, clock: Clock, times: { readonly beganAt: MonotonicMillis; readonly callAt: MonotonicMillis }, why?: string) {
    this.server = server
    this.why = why
    this.#clock = clock
    this.#beganAt = times.beganAt
    this.atMs = times.beganAt - times.callAt
  }

  on(connection: TriedConnection): void {
    this.#connection = connection
    this.reused = connection.served > 0
  }

  /** The head of the final answer has come. */
  head(status: number): void {
    this.status = status
    this.firstByteMs = this.#clock.monotonic() - this.#beganAt
    if (!this.reused) this.connectMs = this.#connection?.connectMs
  }

  /** In a word, for who reads why there was another one: the status of an answer that was not good enough, or the outcome. */
  get said(): string {
    return this.status === undefined ? this.outcome : String(this.status)
  }

  /** Once; whatever is said later changes nothing. */
  ended(outcome: string): void {
    if (this.tookMs !== undefined) return
    this.outcome = outcome
    this.tookMs = this.#clock.monotonic() - this.#beganAt
    const connection = this.#connection
    this.#connection = undefined
    if (connection === undefined) return
    if (!this.reused) this.connectMs = connection.connectMs
    this.bytesUp = connection.bytesUp
    this.bytesDown = connection.bytesDown
  }
}

export class CallTrace {
  phase: Phase = 'gateway'
  /** In the line for a slot, all times together. */
  waitMs: Millis = 0
  readonly tries: TryNote[] = []
  /** Of the servers that were tried, or waited for. */
  pool: string | undefined
  readonly #clock: Clock
  readonly #callAt: MonotonicMillis
  #waitsFrom: MonotonicMillis | undefined

  constructor(clock: Clock, callAt: MonotonicMillis) {
    this.#clock = clock
    this.#callAt = callAt
  }

  waits(pool: string): void {
    this.phase = 'waiting'
    this.pool = pool
    this.#waitsFrom = this.#clock.monotonic()
  }

  /** It has a slot, or waits for none any more. Also when it never waited. */
  waited(): void {
    if (this.#waitsFrom === undefined) return
    this.waitMs += this.#clock.monotonic() - this.#waitsFrom
    this.#waitsFrom = undefined
  }

  /** A server is given the request. `why`: when it is not for how the try before it ended. */
  begin(server: TriedServer, why?: string): TryNote {
    this.waited()
    this.phase = 'server'
    this.pool = server.pool
    const began = new TryNote(
      server.name,
      this.#clock,
      { beganAt: this.#clock.monotonic(), callAt: this.#callAt },
      why ?? this.tries.at(-1)?.said,
    )
    this.tries.push(began)
    return began
  }

  /** The call is over: so is whatever is still under way. */
  close(): void {
    this.waited()
    for (const each of this.tries) each.ended('abandoned')
  }

  /** The one whose answer the client got, or the last. */
  get last(): TryNote | undefined {
    const { tries } = this
    return tries.findLast(({ outcome }) => outcome === 'answered') ?? tries.findLast(({ status }) => status !== undefined) ?? tries.at(-1)
  }
}
