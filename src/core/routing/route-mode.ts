/**
 * Whether a spill route serves at once or queues: a state machine with hysteresis, so that it changes per episode and not per request.
 * It begins to queue at once when no server is up, and when requests have waited for a slot in vain for a while; it goes direct again when that
 * has not been so for a longer while. While it queues nearly all are stored without waiting, and a single one at a time still waits: without it nobody
 * would find out that waiting helps again. Two changes to `queue` are never closer together than `leaveMs`.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

export interface ModeTimes {
  /** So long requests have waited in vain. */
  readonly enterMs: Millis
  /** So long it has not been so. */
  readonly leaveMs: Millis
}

/** Why a request had to be stored. */
export type SpillCause = 'no_server' | 'capacity'

export interface RouteMode {
  readonly mode: 'direct' | 'queue'
  /** The first of the requests that waited in vain one after the other, none served at once in between. */
  readonly pressedSince: MonotonicMillis | undefined
  /** When the last one had waited in vain. */
  readonly spilledAt: MonotonicMillis
  /** When there was last reason enough to queue. */
  readonly pressedAt: MonotonicMillis
}

export const DIRECT: RouteMode = {
  mode: 'direct',
  pressedSince: undefined,
  spilledAt: Number.NEGATIVE_INFINITY,
  pressedAt: Number.NEGATIVE_INFINITY,
}

/** A request had to be stored: no server was up, or it had waited for one in vain. */
export function afterSpill(state: RouteMode, now: MonotonicMillis, cause: SpillCause, times: ModeTimes): RouteMode {
  const goesOn = now - state.spilledAt <= times.leaveMs
  const pressedSince = (goesOn ? state.pressedSince : undefined) ?? now
  const isEnough = cause === 'no_server' || now - pressedSince >= times.enterMs
  return { mode: isEnough ? 'queue' : state.mode, pressedSince, spilledAt: now, pressedAt: isEnough ? now : state.pressedAt }
}

/** A request was served: it is no longer true that none is. */
export function afterFreeSlot(state: RouteMode): RouteMode {
  return state.pressedSince === undefined ? state : { ...state, pressedSince: undefined }
}

/** Time has passed. */
export function afterLook(state: RouteMode, now: MonotonicMillis, times: ModeTimes): RouteMode {
  return now - state.pressedAt >= times.leaveMs ? DIRECT : state
}
