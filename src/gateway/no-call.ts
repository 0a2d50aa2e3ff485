/** A request that never became a call still shows in the metrics and the access log. */
import { ERRORS, type Failure } from '../core/errors.ts'
import type { Peer } from '../net/call.ts'
import type { Clock } from '../ports/clock.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { RouteCounters } from './route-counters.ts'

export interface NoCallParts {
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly routeCounters: RouteCounters
}

export function countRefused(failed: Failure, peer: Peer, { clock, telemetry, routeCounters }: NoCallParts): void {
  const { status } = ERRORS[failed.code]
  const nothing = { method: '', path: '', route: '', mode: '', tookMs: 0, bytesIn: 0, bytesOut: 0 }
  routeCounters.count({ ...nothing, code: status, error: failed.code })
  if (!telemetry.accessLog) return
  telemetry.access({ ...nothing, at: clock.now(), peer: peer.address, status, error: failed.code, end: 'refused' })
}
