/**
 * Watches what the gateway itself has to do, and gives way in time: new connections slowly, then a cheap 503 for the least urgent. What helps to get out
 * of it stays: the admin address with health and metrics, reports of servers, and what was accepted. The rules are in `core/admission/guard.ts`.
 */
import type { RouteConfig } from '../config/config.ts'
import {
  CALM,
  type GuardLevel,
  type GuardRules,
  type GuardState,
  isShed,
  NO_PRESSURE,
  nextGuardState,
  type Pressure,
  pressureOf,
  smoothedDelay,
} from '../core/admission/guard.ts'
import { PRIORITY_DEFAULT } from '../core/admission/wait-list.ts'
import { type Failure, failure } from '../core/errors.ts'
import type { RequestHead } from '../http1/message.ts'
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Telemetry } from '../telemetry/telemetry.ts'
import { priorityOf } from './policies.ts'

export interface GuardParts {
  readonly rules: GuardRules
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly memory: () => number
  readonly sockets: () => number
  /** Connections are to be let in slowly, or no more so. */
  readonly onLevel: (level: GuardLevel) => void
  /** While they are: it is time for so many more. */
  readonly onTick: (count: number) => void
}

export interface GuardStatus {
  readonly level: GuardLevel
  /** What presses most, and its value: milliseconds, or a share. Absent: nothing does. */
  readonly signal?: string
  readonly value?: number
}

const TICK_MS: Millis = 100
/** Connections that are let in with each tick, by each listener. */
const LET_IN = { slow: 50, shed: 8 } as const
/** Memory and sockets change more slowly, and asking costs something. */
const TICKS_OF_OTHERS = 5
/** Whoever asks how a job is may ask again: after the less urgent direct requests, before the most urgent. */
const JOBS_PRIORITY = 7

export class Guard {
  readonly #parts: GuardParts
  #state: GuardState = CALM
  #pressure: Pressure = NO_PRESSURE
  #signals = { loopDelay: 0, memory: Number.NaN, sockets: Number.NaN }
  #ticks = 0
  /** By priority. */
  readonly #counters: Counter[] = []
  #dueAt: MonotonicMillis = 0
  #timer: Timer | undefined

  constructor(parts: GuardParts) {
    this.#parts = parts
  }

  start(): void {
    this.#dueAt = this.#parts.clock.monotonic() + TICK_MS
    this.#timer = this.#parts.clock.after(TICK_MS, this.#tick)
  }

  close(): void {
    this.#timer?.cancel()
  }

  /** Are requests refused at all? The one thing that a call has to look at. */
  get sheds(): boolean {
    return this.#state.level === 'shed'
  }

  get status(): GuardStatus {
    const { level } = this.#state
    const { signal } = this.#pressure
    return signal === undefined || level === 'calm' ? { level } : { level, signal, value: this.#signals[signal] }
  }

  /** 0 calm, 1 slow, 2 shed. */
  get levelNumber(): number {
    return { calm: 0, slow: 1, shed: 2 }[this.#state.level]
  }

  get signals(): Readonly<Record<'loopDelay' | 'memory' | 'sockets', number>> {
    return this.#signals
  }

  /** Why a request on this route is not taken now. */
  refusal(head: Pick<RequestHead, 'headers'>, route: RouteConfig): Failure | undefined {
    const priority = priorityOf(head, route)
    // What is wrong with it is told when there is time again.
    return this.#refusalOf(typeof priority === 'number' ? priority : PRIORITY_DEFAULT)
  }

  /** Looking at jobs can wait, and so can new batches; what servers report about jobs, and cancelling, cannot. */
  jobsRefusal({ method }: Pick<RequestHead, 'method'>, isBatches: boolean): Failure | undefined {
    if (method === 'GET' || method === 'HEAD') return this.#refusalOf(JOBS_PRIORITY)
    return isBatches && method === 'POST' ? this.#refusalOf(PRIORITY_DEFAULT) : undefined
  }

  #refusalOf(priority: number): Failure | undefined {
    if (!isShed(priority, this.#pressure.value)) return undefined
    this.#refused(priority)
    return OVERLOADED
  }

  #refused(priority: number): void {
    const { help } = METRICS.spillway_guard_refused_total
    const { metrics } = this.#parts.telemetry
    this.#counters[priority] ??= metrics.counter('spillway_guard_refused_total', help, { priority: String(priority) })
    this.#counters[priority].inc()
  }

  readonly #tick = (): void => {
    const { clock, rules } = this.#parts
    const now = clock.monotonic()
    const fullMs = rules.loopDelay?.full ?? 0
    this.#signals.loopDelay = smoothedDelay(this.#signals.loopDelay, { lateMs: Math.max(0, now - this.#dueAt), tickMs: TICK_MS, fullMs })
    if (this.#ticks++ % TICKS_OF_OTHERS === 0) {
      if (rules.memory !== undefined) this.#signals.memory = this.#parts.memory()
      if (rules.sockets !== undefined) this.#signals.sockets = this.#parts.sockets()
    }
    this.#pressure = pressureOf(this.#signals, rules)
    const { level } = this.#state
    this.#state = nextGuardState(this.#state, this.#pressure.value, now)
    if (this.#state.level !== level) this.#tell(level)
    if (this.#state.level !== 'calm') this.#parts.onTick(LET_IN[this.#state.level])
    this.#dueAt = clock.monotonic() + TICK_MS
    this.#timer = clock.after(TICK_MS, this.#tick)
  }

  #tell(before: GuardLevel): void {
    const { level, signal, value } = this.status
    this.#parts.telemetry.event({ type: 'guard', level, before, ...(signal !== undefined && { signal, value: value ?? 0 }) })
    this.#parts.onLevel(level)
  }
}

const OVERLOADED: Failure = failure('overloaded', 'The gateway has more to do than it can, and requests of this priority are not taken.')
