/**
 * Whether a spill route serves at once or queues: a state machine with hysteresis, so that it changes per episode and not per request.
 * It begins to queue at once when no server is up, and when requests have found no free slot for a while; it goes direct again when for a
 * longer while no request had to be stored and the backlog was gone. Two changes to `queue` are never closer together than `leaveMs`.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

export interface ModeTimes {
  /** So long no request found a free slot. */
  readonly enterMs: Millis
  /** So long nothing had to be stored, and the queue was as good as empty. */
  readonly leaveMs: Millis
}

/** Why a request had to be stored. */
export type SpillCause = 'no_server' | 'capacity'

export interface RouteMode {
  readonly mode: 'direct' | 'queue'
  /** The first of the requests that were stored one after the other, none of them served at once in between. */
  readonly pressedSince: MonotonicMillis | undefined
  readonly spilledAt: MonotonicMillis
  /** Since when the backlog has been gone, as far as anybody looked. */
  readonly emptySince: MonotonicMillis | undefined
}

export const DIRECT: RouteMode = {
  mode: 'direct',
  pressedSince: undefined,
  spilledAt: Number.NEGATIVE_INFINITY,
  emptySince: undefined,
}

/** A request had to be stored. */
export function afterSpill(state: RouteMode, now: MonotonicMillis, cause: SpillCause, times: ModeTimes): RouteMode {
  const goesOn = state.pressedSince !== undefined && now - state.spilledAt <= times.leaveMs
  const pressedSince = goesOn ? state.pressedSince : now
  const enters = cause === 'no_server' || now - (pressedSince as MonotonicMillis) >= times.enterMs
  return { mode: enters ? 'queue' : state.mode, pressedSince, spilledAt: now, emptySince: undefined }
}

/** A request found a free slot at once: it is no longer true that none does. */
export function afterFreeSlot(state: RouteMode): RouteMode {
  return state.pressedSince === undefined ? state : { ...state, pressedSince: undefined }
}

/** Somebody looked into the queue. */
export function afterLook(state: RouteMode, now: MonotonicMillis, backlog: boolean, times: ModeTimes): RouteMode {
  if (state.mode === 'direct') return state
  if (backlog) return state.emptySince === undefined ? state : { ...state, emptySince: undefined }
  const emptySince = state.emptySince ?? now
  const isOver = now - emptySince >= times.leaveMs && now - state.spilledAt >= times.leaveMs
  return isOver ? DIRECT : { ...state, emptySince }
}
