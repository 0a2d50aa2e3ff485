/** A request that is served now: the server fields, the choice of a pool, and what becomes of it where no slot is free. No store is needed for that. */
import { corsHeaders } from '../api/cors.ts'
import { sendFailure } from '../api/problem.ts'
import type { StickyConfig } from '../config/config.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import type { Pool } from '../pools/pool.ts'
import { addMark, dressCall, serverFields } from './actions.ts'
import { balanceHash } from './balance-hash.ts'
import { choiceFor } from './choice.ts'
import type { LiveContext } from './context.ts'
import { DirectCall } from './direct.ts'
import type { DirectRequest } from './direct-request.ts'
import { priorityOf } from './policies.ts'
import { cookieForServers } from './sticky.ts'

export type Otherwise = Partial<Pick<DirectRequest, 'order' | 'spill' | 'elsewhere'>>

export function serveLive(call: DownstreamCall, match: RouteMatch, context: LiveContext, otherwise: Otherwise = {}): void {
  const { route } = match
  const priority = priorityOf(call.head, route)
  if (typeof priority === 'object') return sendFailure(call, priority, corsHeaders(route.cors, call))
  const cors = route.cors === undefined ? undefined : corsHeaders(route.cors, call)
  const fields = serverFields(call, match, context)
  const choice = choiceFor(call, match, context)
  const pool = choice?.pool ?? serversOf(match, context)
  const keyHash = choice === undefined ? balanceHash(pool.config.balance, call, match, context.clients) : undefined
  const { order, spill, elsewhere } = otherwise
  const request = { route, pool, target: match.target, fields, cors, keyHash, choice, order, spill, elsewhere, priority }
  new DirectCall(call, request, context).start()
}

/** What every call on a route begins with. False: it was refused. */
export function enterRoute(call: DownstreamCall, found: RouteMatch, context: LiveContext): boolean {
  const { route } = found
  call.log.route = route.name
  call.log.mode = route.mode
  const shed = context.guard?.sheds === true ? context.guard.refusal(call.head, route) : undefined
  if (shed !== undefined) {
    sendFailure(call, shed, corsHeaders(route.cors, call))
    return false
  }
  if (route.actions !== undefined) dressCall(call, found, context)
  if (route.sticky !== undefined) hideOwnCookie(call, route.sticky)
  return true
}

/** It is between the client and us. */
function hideOwnCookie(call: DownstreamCall, sticky: StickyConfig): void {
  const left = cookieForServers(call.head, sticky)
  if (left !== undefined) addMark(call, ['cookie'], left)
}

/** Of a route that serves. Only one that queues may have none. */
export function serversOf(match: RouteMatch, context: LiveContext): Pool {
  return poolOf(match, context) as Pool
}

export function poolOf({ route }: RouteMatch, context: LiveContext): Pool | undefined {
  return route.pool === undefined ? undefined : context.pools.get(route.pool)
}
