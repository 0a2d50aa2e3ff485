/** What is counted and logged of a call, once, when it ends. */
import { type EndFacts, terminationOf } from '../core/calls/termination.ts'
import { ERRORS, type Failure } from '../core/errors.ts'
import { parseTraceparent } from '../core/headers/trace-context.ts'
import type { Peer } from '../net/call.ts'
import type { RefusalMark } from '../net/downstream-connection.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { CallTrace } from '../telemetry/call-trace.ts'
import { redactPath } from '../telemetry/redact.ts'
import type { AccessLine, TunnelLine } from '../telemetry/telemetry.ts'
import { newMark } from './actions.ts'
import type { LiveContext } from './context.ts'

/** Whatever becomes of it. */
export function observe(call: DownstreamCall, context: LiveContext): void {
  if (context.telemetry.accessLog) call.log.trace = new CallTrace(context.clock, call.receivedAt)
  call.onEnd(() => {
    const { log } = call
    if (log.elsewhere === true) return
    const tookMs = context.clock.monotonic() - call.receivedAt
    const status = call.status === 0 ? 499 : call.status
    const { route, mode, error } = log
    const { bytesIn, bytesOut } = call
    context.routeCounters.count({ route, mode, error, code: status, tookMs, bytesIn, bytesOut })
    if (log.trace === undefined || !context.telemetry.accessLog) return
    log.trace.close()
    context.telemetry.access(lineOf(call, { status, tookMs, trace: log.trace }, context))
  })
}

function stateOf({ gone, complete, responseStarted, status }: DownstreamCall): Omit<EndFacts, 'phase'> {
  return { gone, requestComplete: complete, responseStarted, status }
}

interface Ended {
  readonly status: number
  readonly tookMs: number
  readonly trace: CallTrace
}

/** A request that never became a call: nobody knows more of it than why. What marks it, for its answer. */
export function observeRefused(failed: Failure, peer: Peer, context: LiveContext): RefusalMark | undefined {
  const { status } = ERRORS[failed.code]
  const nothing = { method: '', path: '', route: '', mode: '', tookMs: 0, bytesIn: 0, bytesOut: 0 }
  const mark = newMark(context)
  context.routeCounters.count({ ...nothing, code: status, error: failed.code })
  if (!context.telemetry.accessLog) return mark
  const at = context.clock.now()
  context.telemetry.access({ ...nothing, at, peer: peer.address, status, error: failed.code, end: 'refused', requestId: mark?.id })
  return mark
}

/** What is known of a tunnel when it is opened. */
export function tunnelFacts(call: DownstreamCall, context: LiveContext): TunnelFacts {
  const { head, log, peer } = call
  const client = clientOf(call, context)
  return {
    ...{ peer: peer.address, path: redactPath(head.path, context.config.jobs.path), route: log.route },
    ...(client !== undefined && { client }),
    ...idsOf(call),
  }
}

type TunnelFacts = Pick<TunnelLine, 'peer' | 'client' | 'path' | 'route' | 'requestId' | 'traceId'>

/** Who is behind trusted proxies. */
function clientOf(call: DownstreamCall, context: LiveContext): string | undefined {
  const client = call.peer.trusted ? context.clients.addressOf(call) : call.peer.address
  return client === call.peer.address ? undefined : client
}

function idsOf({ head, log }: DownstreamCall): Pick<AccessLine, 'requestId' | 'traceId'> {
  const { requestId, traceId } = log
  return { requestId, traceId: traceId ?? (head.traceparent === '' ? undefined : parseTraceparent(head.traceparent)?.traceId) }
}

function lineOf(call: DownstreamCall, { status, tookMs, trace }: Ended, context: LiveContext): AccessLine {
  const { head, log } = call
  const { route, mode, server, job, error } = log
  return {
    ...{ at: context.clock.now(), peer: call.peer.address, method: head.method, path: redactPath(head.path, context.config.jobs.path) },
    ...{ route, mode, status, tookMs, bytesIn: call.bytesIn, bytesOut: call.bytesOut },
    end: terminationOf({ ...log, phase: trace.phase, ...stateOf(call) }),
    ...{ client: clientOf(call, context), pool: trace.pool },
    ...{ server, job, error },
    ...idsOf(call),
    secure: call.peer.secure === true ? true : undefined,
    waitMs: trace.waitMs > 0 ? trace.waitMs : undefined,
    tries: trace.tries,
  }
}
