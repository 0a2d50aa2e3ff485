/**
 * Heeds what the servers of a pool say of themselves, in answers and in checks: shares follow the loads that they tell, and one that asks to be drained
 * gets nothing new. Costs nothing while nobody says anything: there is one timer, and only as long as something that was said still counts.
 */
import type { ProbeResult } from '../core/health/health.ts'
import { type DrainWish, isOver, mayWish, wishAfter, wishAfterSilence } from '../core/server-reports/drain-wish.ts'
import { type GarbledReport, readReports, type ServerReports as Reports } from '../core/server-reports/read-reports.ts'
import { loadFactor, referenceLoad, ReportedLoad } from '../core/server-reports/reported-load.ts'
import type { ServerReportRules } from '../core/server-reports/rules.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { Server } from './server.ts'
import type { ServerMeter } from './server-meter.ts'

export const ASKS_TO_DRAIN = 'it asks to be drained'
/** Shares follow loads so often, and no oftener, however many answers tell one. */
const SHARES_EVERY_MS: Millis = 250
/** Of reports that say nothing, one in so long is told. All are counted. */
const GARBLED_EVERY_MS: Millis = 10_000
const SHOWN_MAX = 60

export interface EndedCheck {
  readonly result: ProbeResult
  readonly tookMs: Millis
  /** It was a request, not a connection alone. */
  readonly isHttp: boolean
}

export interface ReportParts {
  readonly pool: string
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly servers: () => readonly Server[]
  readonly meterOf: (server: Server) => ServerMeter
  /** It wants to be drained. */
  readonly drain: (server: Server, reason: string) => void
  /** It does not any more: it is what it is otherwise. */
  readonly wishOver: (server: Server, reason: string) => void
  readonly share: (now: MonotonicMillis) => void
}

export class ServerReports {
  #rules: ServerReportRules | undefined
  readonly #parts: ReportParts
  #timer: Timer | undefined
  #timerAt: MonotonicMillis = 0
  #garbledAt: MonotonicMillis = Number.NEGATIVE_INFINITY
  #closed = false

  constructor(rules: ServerReportRules | undefined, parts: ReportParts) {
    this.#rules = rules
    this.#parts = parts
  }

  /** Holds from now on. What is heeded no more is as if it had never been said. */
  reconfigure(rules: ServerReportRules | undefined): void {
    this.#rules = rules
    for (const server of this.#parts.servers()) {
      if (rules?.load === undefined) forgetLoad(server)
      if (rules?.drain === undefined) this.#end(server, 'the pool does not heed it any more')
    }
    this.#share(this.#parts.clock.monotonic())
  }

  /** An answer has something in its head that is for the gateway. */
  answered(server: Server, headers: readonly string[]): void {
    const reports = this.#rules === undefined ? undefined : readReports(headers)
    if (reports !== undefined) this.#heard(server, reports)
  }

  #heard(server: Server, { load, drain, garbled }: Reports): void {
    const rules = this.#rules
    if (rules === undefined || this.#closed || server.leaving || server.duty === 'maint') return
    const now = this.#parts.clock.monotonic()
    const meter = this.#parts.meterOf(server)
    for (const each of garbled ?? []) this.#garbled(server, each, now)
    if (load !== undefined && rules.load !== undefined) {
      meter.reported('load', 'heeded')
      if (server.load === undefined) server.load = new ReportedLoad(load, now)
      else server.load.observe(load, now)
      this.#wakeAt(now + SHARES_EVERY_MS)
    }
    if (drain !== undefined && rules.drain !== undefined) {
      const isTooSoon = server.wish === undefined && drain !== 'off' && !mayWish(server.wishEndedAt, now)
      meter.reported('drain', isTooSoon ? 'too-soon' : 'heeded')
      if (!isTooSoon) this.#wishes(server, wishAfter(drain, now, rules.drain), now)
    }
  }

  /** A check has ended; `server.health` says already what follows from it. True: so does the state of the server, by what it wishes. */
  checked(server: Server, check: EndedCheck): boolean {
    const wished = server.wish !== undefined
    const { result } = check
    const reports = result.kind === 'unasked' ? undefined : result.reports
    if (reports !== undefined) this.#heard(server, reports)
    if (server.wish !== undefined && reports?.drain === undefined) this.#notRepeated(server, server.wish, check)
    return (server.wish !== undefined) !== wished && server.duty === 'ready'
  }

  #notRepeated(server: Server, wish: DrainWish, { result, tookMs, isHttp }: EndedCheck): void {
    const began = this.#parts.clock.monotonic() - tookMs
    if (server.health.state === 'down') this.lost(server, result.kind === 'failed' ? result.reason : '')
    else if (result.kind === 'passed' && isHttp && wishAfterSilence(wish, began) === undefined) {
      this.#end(server, 'its check does not ask for it any more')
    }
  }

  /** It is down: whatever comes back is another one, or has been mended. True: it wished something, and its state is told. */
  lost(server: Server, because: string): boolean {
    return this.#end(server, 'it is down', because) && server.duty === 'ready'
  }

  forget(server: Server): void {
    server.wish = undefined
    forgetLoad(server)
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #wishes(server: Server, wish: DrainWish | undefined, now: MonotonicMillis): void {
    if (wish === undefined) return void this.#end(server, 'it has taken that back')
    const isNew = server.wish === undefined
    server.wish = wish
    this.#wakeAt(wish.until)
    if (!isNew) return
    const { pool, telemetry } = this.#parts
    telemetry.event({ type: 'drain-asked', pool, server: server.name, ...(!wish.isOfChecks && { forMs: wish.until - now }) })
    if (server.duty === 'ready') this.#parts.drain(server, ASKS_TO_DRAIN)
  }

  /** True: there was a wish. */
  #end(server: Server, reason: string, because: string = reason): boolean {
    if (server.wish === undefined) return false
    server.wish = undefined
    server.wishEndedAt = this.#parts.clock.monotonic()
    const { pool, telemetry } = this.#parts
    telemetry.event({ type: 'drain-over', pool, server: server.name, reason })
    if (server.duty === 'ready' && !server.leaving) this.#parts.wishOver(server, because)
    return true
  }

  #garbled(server: Server, { field, value }: GarbledReport, now: MonotonicMillis): void {
    this.#parts.meterOf(server).reported(field === 'Spillway-Load' ? 'load' : 'drain', 'garbled')
    if (now - this.#garbledAt < GARBLED_EVERY_MS) return
    this.#garbledAt = now
    const { pool, telemetry } = this.#parts
    telemetry.event({ type: 'report-garbled', pool, server: server.name, field, value: value.slice(0, SHOWN_MAX) })
  }

  // --- what changes with time

  #wakeAt(at: MonotonicMillis): void {
    if (this.#closed || (this.#timer !== undefined && this.#timerAt <= at)) return
    this.#timer?.cancel()
    this.#timerAt = at
    this.#timer = this.#parts.clock.after(Math.max(1, at - this.#parts.clock.monotonic()), () => this.#look())
  }

  #look(): void {
    this.#timer = undefined
    const now = this.#parts.clock.monotonic()
    this.#share(now)
    for (const server of this.#parts.servers()) {
      if (server.wish !== undefined && isOver(server.wish, now)) this.#end(server, 'its time is over')
      if (server.wish !== undefined) this.#wakeAt(server.wish.until)
      if (server.load !== undefined) this.#wakeAt(now + SHARES_EVERY_MS)
    }
  }

  #share(now: MonotonicMillis): void {
    const rules = this.#rules?.load
    const servers = this.#parts.servers()
    if (rules === undefined) return this.#parts.share(now)
    for (const server of servers) if (server.load !== undefined && now - server.load.at >= rules.expireMs) forgetLoad(server)
    const told = servers.filter(({ load }) => load !== undefined)
    // Who gets nothing now is no measure for those who do.
    const used = told.filter(({ state }) => state === 'up')
    const reference = referenceLoad((used.length > 0 ? used : told).map(({ load }) => load?.value ?? 0))
    for (const server of told) server.loadFactor = loadFactor(server.load?.value ?? 0, reference, rules)
    this.#parts.share(now)
  }
}

function forgetLoad(server: Server): void {
  server.load = undefined
  server.loadFactor = 1
}
