/**
 * Copies of requests for another pool: sent when they have been read as a whole, beside what their client gets, which never waits for them. Their
 * answers are read and thrown away. What there is no room, no time or no server for is not sent, and counted.
 */
import type { MirrorConfig } from '../config/config.ts'
import { isServerFailure, isServerFault } from '../core/health/outliers.ts'
import { mishapOf } from '../core/retry/retry.ts'
import type { ResponseHead } from '../http1/message.ts'
import type { Bytes, MonotonicMillis } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import { type Deadline, NEVER, type Sweepable, type Sweeper } from '../net/sweeper.ts'
import type { ResponseSink, UpstreamConnection, UpstreamFailure } from '../net/upstream-connection.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { Clock, Random } from '../ports/clock.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'
import type { Upstream } from '../upstream/upstream.ts'

/** `body`: too long, or there was no room to keep it. `busy`: no slot was free. `incomplete`: not all of it came. */
type Outcome = 'answered' | 'failed' | 'body' | 'busy' | 'no_server' | 'incomplete'

/** Of the body what was kept of it, or why it is not all of it. */
export type MirroredBody = readonly Uint8Array[] | 'body' | 'incomplete'

export interface MirrorParts {
  readonly telemetry: Telemetry
  readonly clock: Clock
  readonly random: Random
  readonly sweeper: Sweeper
  readonly upstream: Upstream
  readonly budget: BufferBudget
  readonly pools: ReadonlyMap<string, Pool>
}

/** The request line and fields, without framing. */
export interface MirroredRequest {
  readonly method: string
  readonly head: string
}

export class Mirrors {
  readonly #parts: MirrorParts
  readonly #counters = new Map<string, Counter>()
  readonly #underWay = new Set<MirroredExchange>()

  constructor(parts: MirrorParts) {
    this.#parts = parts
  }

  /** Is this request one of those that are copied? */
  draws({ methods, share }: MirrorConfig, method: string): boolean {
    if (methods !== undefined && !methods.includes(method)) return false
    return share >= 1 || this.#parts.random.unit() < share
  }

  /** The request has been read, or will not be. */
  send(config: MirrorConfig, request: MirroredRequest, pieces: MirroredBody): void {
    if (typeof pieces === 'string') return this.#count(config, pieces)
    const { budget } = this.#parts
    const pool = this.#parts.pools.get(config.pool)
    if (pool === undefined || pool.upServers().length === 0) return this.#count(config, 'no_server')
    const body = pieces.length === 1 ? (pieces[0] as Uint8Array) : Buffer.concat(pieces)
    if (!budget.take(body.length)) return this.#count(config, 'body')
    // Requests of its own that wait go first.
    const server = pool.waiting > 0 ? undefined : pool.acquire({ isSpillable: true })
    if (server === undefined) {
      budget.give(body.length)
      return this.#count(config, 'busy')
    }
    const exchange = new MirroredExchange({ ...this.#parts, pool, server, bytes: body.length }, (outcome) => {
      this.#underWay.delete(exchange)
      this.#count(config, outcome)
    })
    this.#underWay.add(exchange)
    exchange.start(request, body, config)
  }

  #count({ pool }: MirrorConfig, outcome: Outcome): void {
    const name = `${pool} ${outcome}`
    let counter = this.#counters.get(name)
    if (counter === undefined) {
      counter = this.#parts.telemetry.metrics.counter('spillway_mirrored_total', METRICS.spillway_mirrored_total.help, { pool, outcome })
      this.#counters.set(name, counter)
    }
    counter.inc()
  }

  close(): void {
    for (const exchange of [...this.#underWay]) exchange.abandon()
  }
}

type ExchangeParts = Pick<MirrorParts, 'clock' | 'sweeper' | 'upstream' | 'budget'> & {
  readonly pool: Pool
  readonly server: Server
  /** Of the body, taken from the budget. */
  readonly bytes: Bytes
}

/** One copy under way: gives its slot and its memory back exactly once. */
class MirroredExchange implements ResponseSink, Sweepable {
  deadlineAt: Deadline = NEVER
  readonly #parts: ExchangeParts
  readonly #ended: (outcome: 'answered' | 'failed') => void
  #connection: UpstreamConnection | undefined
  #sentAt: MonotonicMillis = 0
  #status = 0
  #isOver = false

  constructor(parts: ExchangeParts, ended: (outcome: 'answered' | 'failed') => void) {
    this.#parts = parts
    this.#ended = ended
  }

  start({ method, head }: MirroredRequest, body: Uint8Array, { timeoutMs }: MirrorConfig): void {
    const { clock, sweeper, upstream, pool, server } = this.#parts
    this.deadlineAt = sweeper.in(timeoutMs)
    sweeper.add(this)
    this.#sentAt = clock.monotonic()
    const whole = body.length === 0 ? 'none' : { whole: body }
    this.#connection = upstream.exchange(pool, server, { method, head, body: whole, fresh: false }, this)
  }

  cork(): void {}

  uncork(): undefined {}

  head({ status }: ResponseHead): void {
    if (this.#sentAt > 0) this.#parts.pool.answered(this.#parts.server, this.#sentAt)
    this.#sentAt = 0
    this.#status = status
    if (status === 101) this.abandon()
  }

  data(): boolean {
    return true
  }

  end(): void {
    const { pool, server } = this.#parts
    server.meter?.answered(this.#status)
    pool.observe(server, !isServerFault(this.#status))
    this.#connection = undefined
    this.#finish('answered')
  }

  fail(failed: UpstreamFailure): void {
    const { pool, server } = this.#parts
    server.meter?.unanswered(failed.code)
    if (mishapOf(failed) !== 'stale' && isServerFailure(failed.code)) pool.observe(server, false)
    this.#connection = undefined
    this.#finish('failed')
  }

  /** It lags behind: nobody waits for it. */
  onDeadline(): void {
    this.abandon()
  }

  abandon(): void {
    if (this.#isOver) return
    this.#parts.server.meter?.unanswered('abandoned')
    this.#connection?.destroy()
    this.#finish('failed')
  }

  #finish(outcome: 'answered' | 'failed'): void {
    if (this.#isOver) return
    this.#isOver = true
    const { sweeper, budget, pool, server, bytes } = this.#parts
    sweeper.delete(this)
    budget.give(bytes)
    pool.release(server)
    this.#ended(outcome)
  }
}
