/**
 * The way of a call in a worker. What needs only servers is served here, as the chief would do it; whatever has to do with jobs, with waiting, with an
 * upgrade, or is wrong, goes to the chief as it came. Which of them is decided by the head alone.
 */
import { isJobsPath } from '../api/job-addresses.ts'
import type { RouteConfig } from '../config/config.ts'
import { isLoop } from '../core/headers/forward.ts'
import { checkPath } from '../core/routing/check-path.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import { actOn, markCall } from '../gateway/actions.ts'
import type { LiveContext } from '../gateway/context.ts'
import type { SpillHandOver } from '../gateway/direct-request.ts'
import { enterRoute, serveLive } from '../gateway/live.ts'
import { observe } from '../gateway/observe.ts'
import { clientKeyOf, mayBecomeJob, mustBecomeJob } from '../gateway/policies.ts'
import { orderOf } from '../jobs/key.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import type { ChiefLine } from './chief-line.ts'

export interface WorkerContext extends LiveContext {
  readonly chief: ChiefLine
  /** The chief has reasons of his own: the route queues for now, or an operator has switched it. */
  readonly isRelayed: (route: string) => boolean
  /** When the chief has answered what he was told so far. */
  readonly whenTold: (then: () => void) => void
}

export function handleHere(call: DownstreamCall, context: WorkerContext): void {
  const found = servedHere(call, context)
  if (found === undefined) return context.chief.take(call)
  observe(call, context)
  if (context.config.requestId !== undefined || context.config.tracing !== undefined) markCall(call, context)
  const { route } = found
  if (!enterRoute(call, found, context)) return
  const match = route.actions === undefined ? found : actOn(call, found, context)
  if (match === undefined) return
  const elsewhere = (taken: SpillHandOver): void => context.chief.take(call, taken)
  // What a server has said ("not now") the chief must have heard before he looks for one.
  const spill = (taken: SpillHandOver): void => (taken.complete ? context.whenTold(() => elsewhere(taken)) : elsewhere(taken))
  serveLive(call, match, context, route.mode === 'spill' ? { elsewhere, spill } : { elsewhere })
}

function servedHere(call: DownstreamCall, context: WorkerContext): RouteMatch | undefined {
  const { head } = call
  if (!isOrdinary(call, context)) return undefined
  const found = context.router.find(head)
  if (found === undefined || context.isRelayed(found.route.name) || isChiefs(found.route)) return undefined
  return found.route.mode === 'spill' && becomesJob(call, found) ? undefined : found
}

/** Nothing in it but a request for a server. */
function isOrdinary({ head, peer }: DownstreamCall, { config }: WorkerContext): boolean {
  const { method, path, bodyLength } = head
  if (method === 'TRACE' || method === 'CONNECT' || method === 'OPTIONS' || head.upgrade !== '') return false
  if (isJobsPath(path, config.jobs.path) || checkPath(path) !== undefined) return false
  if (head.hasVia && isLoop(head.headers, config.name)) return false
  if (head.https && peer.secure !== true && !peer.trusted) return false
  return config.limits.body === 0 || bodyLength <= config.limits.body
}

/** Sessions that were learnt from answers are known to who saw the answers: that must be one. */
function isChiefs({ mode, sticky }: RouteConfig): boolean {
  return mode === 'queue' || sticky?.cookie.by === 'application'
}

/** It asks for it, or has a key that others have, too: their order is in the store. */
function becomesJob(call: DownstreamCall, match: RouteMatch): boolean {
  const { route } = match
  if (!mayBecomeJob(call, route)) return false
  return mustBecomeJob(call, route) || orderOf(call, match, clientKeyOf(call.head, route)) !== undefined
}
