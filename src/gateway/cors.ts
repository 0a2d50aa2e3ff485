/** Preflights of routes: the route is the one that the announced request would take, not the one of the OPTIONS request. */
import { isPreflight, sendPreflight } from '../api/cors.ts'
import type { Router } from '../core/routing/router.ts'
import { headerValue } from '../http1/message.ts'
import type { Call } from '../net/call.ts'

/** False: it is none of ours, because it is no preflight or its route has no `cors`; the server answers it. */
export function answerPreflight(call: Call, router: Router): boolean {
  if (!isPreflight(call)) return false
  const method = headerValue(call.head.headers, 'access-control-request-method') as string
  const cors = router.find({ ...call.head, headers: call.head.headers, method })?.route.cors
  if (cors === undefined) return false
  sendPreflight(call, cors)
  return true
}
