/** What is counted and logged of a call, once, when it ends. */
import { type EndFacts, terminationOf } from '../core/calls/termination.ts'
import { parseTraceparent } from '../core/headers/trace-context.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { CallTrace } from '../telemetry/call-trace.ts'
import { redactPath } from '../telemetry/redact.ts'
import type { AccessLine } from '../telemetry/telemetry.ts'
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

function lineOf(call: DownstreamCall, { status, tookMs, trace }: Ended, context: LiveContext): AccessLine {
  const { head, log } = call
  const { route, mode, server, job, error } = log
  const client = call.peer.trusted ? context.clients.addressOf(call) : call.peer.address
  return {
    ...{ at: context.clock.now(), peer: call.peer.address, method: head.method, path: redactPath(head.path, context.config.jobs.path) },
    ...{ route, mode, status, tookMs, bytesIn: call.bytesIn, bytesOut: call.bytesOut },
    end: terminationOf({ ...log, phase: trace.phase, ...stateOf(call) }),
    ...{ client: client === call.peer.address ? undefined : client, pool: trace.pool },
    ...{ server, job, error },
    ...{
      requestId: log.requestId,
      traceId: log.traceId ?? (head.traceparent === '' ? undefined : parseTraceparent(head.traceparent)?.traceId),
    },
    secure: call.peer.secure === true ? true : undefined,
    waitMs: trace.waitMs > 0 ? trace.waitMs : undefined,
    tries: trace.tries,
  }
}
