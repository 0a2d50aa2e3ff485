/** A listener that serves nothing itself: every request is sent to the same host and target with https (RFC 9110, section 15.4). */
import { sendFailure } from '../api/problem.ts'
import { failure } from '../core/errors.ts'
import { secureUrl } from '../core/routing/secure-url.ts'
import type { ListenerConfig } from '../config/config.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { observe } from './observe.ts'
import type { LiveContext } from './context.ts'

export function redirectCall(call: DownstreamCall, redirect: NonNullable<ListenerConfig['redirect']>, context: LiveContext): void {
  observe(call, context)
  const { host, target } = call.head
  if (host === '') return sendFailure(call, failure('bad_request', 'only https is served, and without a Host nobody knows where'))
  // "*" is about this gateway as a whole.
  if (target === '*') return call.send(204, [], '')
  call.log.by = 'redirect'
  call.send(redirect.status, ['Location', secureUrl(host, target, redirect.port)], '')
}
