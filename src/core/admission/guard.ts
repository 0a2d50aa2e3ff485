/**
 * How the gateway protects itself: signals of what it has to do become one pressure, and the pressure a level. First new connections are let in
 * slowly, then requests are refused, the least urgent first. A level is left only when the pressure has been well below it for a while, so
 * that it does not flap.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'
import { fillMaxOf } from './shedding.ts'

/** `slow`: new connections are let in slowly. `shed`: and requests are refused. */
export type GuardLevel = 'calm' | 'slow' | 'shed'

export interface GuardRange {
  /** From here on it is too much. */
  readonly from: number
  /** Here everything is refused. */
  readonly full: number
}

export type SignalName = 'loopDelay' | 'memory' | 'sockets'
/** What is absent is not looked at. */
export type GuardRules = Readonly<Partial<Record<SignalName, GuardRange>>>
/** `loopDelay` in milliseconds, the others as shares of what there may be. NaN: unknown. */
export type GuardSignals = Readonly<Record<SignalName, number>>

export interface Pressure {
  /** 0 at `from`, 1 at `full`; less and more than that where the signal is. */
  readonly value: number
  /** Which presses most. */
  readonly signal: SignalName | undefined
}

export const NO_PRESSURE: Pressure = { value: Number.NEGATIVE_INFINITY, signal: undefined }

const ENTER: Readonly<Record<GuardLevel, number>> = { calm: Number.NEGATIVE_INFINITY, slow: 0, shed: 1 / 3 }
/** So far below where it was entered. */
const LEAVE_BELOW = 0.1
const LEAVE_AFTER_MS: Millis = 1_000
const LEVELS: readonly GuardLevel[] = ['calm', 'slow', 'shed']

export function pressureOf(signals: GuardSignals, rules: GuardRules): Pressure {
  let most = NO_PRESSURE
  for (const signal of ['loopDelay', 'memory', 'sockets'] as const) {
    const range = rules[signal]
    if (range === undefined) continue
    const value = (signals[signal] - range.from) / (range.full - range.from)
    if (value > most.value) most = { value, signal }
  }
  return most
}

export interface GuardState {
  readonly level: GuardLevel
  /** Since when the pressure has been below what keeps the level. */
  readonly belowSince: MonotonicMillis | undefined
}

export const CALM: GuardState = { level: 'calm', belowSince: undefined }

/** Up at once, down by one step after a while. */
export function nextGuardState({ level, belowSince }: GuardState, pressure: number, now: MonotonicMillis): GuardState {
  const reached = LEVELS.findLast((each) => pressure >= ENTER[each]) ?? 'calm'
  if (LEVELS.indexOf(reached) > LEVELS.indexOf(level)) return { level: reached, belowSince: undefined }
  if (level === 'calm' || pressure >= ENTER[level] - LEAVE_BELOW) return { level, belowSince: undefined }
  const since = belowSince ?? now
  if (now - since < LEAVE_AFTER_MS) return { level, belowSince: since }
  return { level: LEVELS[LEVELS.indexOf(level) - 1] as GuardLevel, belowSince: undefined }
}

/** Is a request of this priority refused? Along the curve of `fillMaxOf`, from where shedding begins; the highest only at full pressure. */
export function isShed(priority: number, pressure: number): boolean {
  return pressure >= fillMaxOf(priority, ENTER.shed)
}

/**
 * How late timers are, on average over about half a second. One long pause (a garbage collection, a process that was stopped) counts as no more
 * than a full one: it is over, and says little about what comes.
 */
export function smoothedDelay(before: Millis, { lateMs, tickMs, fullMs }: { lateMs: Millis; tickMs: Millis; fullMs: Millis }): Millis {
  const weight = 1 - Math.exp((-2 * tickMs) / AVERAGED_MS)
  return before + weight * (Math.min(lateMs, fullMs) - before)
}

const AVERAGED_MS: Millis = 1_000
