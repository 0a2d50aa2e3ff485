/**
 * How a call ended, in one word: who ended it, and where it was then. For the access log; each word is explained in docs/access-log.md.
 */

/** Where a call is: what is awaited next. */
export type Phase =
  /** Nobody has it yet: the rest of it is awaited, or the store. */
  | 'gateway'
  /** In the line of its pool. */
  | 'waiting'
  /** With a server, which has not begun to answer. */
  | 'server'
  /** The answer is on its way. */
  | 'response'
  /** Its client is held for the end of a job. */
  | 'held'

export type Termination = (typeof TERMINATIONS)[number]

export const TERMINATIONS = [
  'ok',
  'redirected',
  'fixed-answer',
  'accepted',
  'tunnel',
  'client-left-request',
  'client-left-waiting',
  'client-left-server',
  'client-left-response',
  'client-left-held',
  'client-left-gateway',
  'client-slow-request',
  'client-bad-framing',
  'server-connect-failed',
  'timeout-connect',
  'server-reset-before-head',
  'server-reset-body',
  'server-bad-answer',
  'timeout-first-byte',
  'timeout-call',
  'timeout-wait',
  'no-server',
  'line-full',
  'tunnels-full',
  'buffers-full',
  'queue-full',
  'shed',
  'client-limit',
  'switched-off',
  'store-unavailable',
  'wait-ended',
  'shutting-down',
  'no-route',
  'refused',
  'gateway-error',
] as const

export interface EndFacts {
  readonly phase: Phase
  /** The client left, or was let go, before the end. */
  readonly gone: boolean
  /** Its body has come as a whole. */
  readonly requestComplete: boolean
  readonly responseStarted: boolean
  /** Of the answer; 0: there was none. */
  readonly status: number
  /** A code of the error registry, or why the client is gone. */
  readonly error?: string | undefined
  /** What the gateway did by itself. */
  readonly by?: 'redirect' | 'answer' | undefined
  readonly job?: string | undefined
}

const BY_ERROR: ReadonlyMap<string, Termination> = new Map([
  ['connect_failed', 'server-connect-failed'],
  ['connect_timeout', 'timeout-connect'],
  ['tls_certificate', 'server-connect-failed'],
  ['tls_alert', 'server-connect-failed'],
  ['tls_failed', 'server-connect-failed'],
  ['bad_response', 'server-bad-answer'],
  ['answer_broken', 'server-reset-body'],
  ['first_byte_timeout', 'timeout-first-byte'],
  ['call_timeout', 'timeout-call'],
  ['no_capacity', 'timeout-wait'],
  ['no_server', 'no-server'],
  ['too_many_waiting', 'line-full'],
  ['too_many_tunnels', 'tunnels-full'],
  ['tunnels_too_fast', 'tunnels-full'],
  ['too_many_client_tunnels', 'client-limit'],
  ['buffers_full', 'buffers-full'],
  ['queue_full', 'queue-full'],
  ['shed', 'shed'],
  ['overloaded', 'shed'],
  ['too_many_jobs', 'client-limit'],
  ['too_many_watchers', 'client-limit'],
  ['switched_off', 'switched-off'],
  ['store_unavailable', 'store-unavailable'],
  ['wait_ended', 'wait-ended'],
  ['wait_ended_begun', 'wait-ended'],
  ['shutting_down', 'shutting-down'],
  ['not_found', 'no-route'],
])

export function terminationOf(facts: EndFacts): Termination {
  const { error, status } = facts
  if (facts.gone) return ofLeaving(facts)
  if (error === 'connection_reset') return facts.responseStarted && status < 500 ? 'server-reset-body' : 'server-reset-before-head'
  const named = error === undefined ? undefined : BY_ERROR.get(error)
  if (named !== undefined) return named
  if (error !== undefined) return status >= 400 && status < 500 ? 'refused' : 'gateway-error'
  if (facts.by !== undefined) return facts.by === 'redirect' ? 'redirected' : 'fixed-answer'
  if (status === 101) return 'tunnel'
  return status === 202 && facts.job !== undefined ? 'accepted' : 'ok'
}

function ofLeaving({ error, phase, responseStarted, requestComplete }: EndFacts): Termination {
  if (error === 'timeout') return 'client-slow-request'
  if (error === 'bad-framing') return 'client-bad-framing'
  if (responseStarted || phase === 'response') return 'client-left-response'
  if (!requestComplete) return 'client-left-request'
  if (phase === 'waiting') return 'client-left-waiting'
  if (phase === 'server') return 'client-left-server'
  return phase === 'held' ? 'client-left-held' : 'client-left-gateway'
}
