/**
 * The way of a call, from its head to who answers it. Read top to bottom, it is the table of contents of the gateway:
 * admit, job endpoints, route, CORS, then one of tunnel, direct, spill, queue.
 */
import { corsHeaders } from '../api/cors.ts'
import { isJobsPath } from '../api/job-addresses.ts'
import { handleJobsCall } from '../api/job-endpoints.ts'
import { sendFailure } from '../api/problem.ts'
import { type Failure, failure } from '../core/errors.ts'
import { forwardRequestHeaders, isLoop } from '../core/headers/forward.ts'
import { endsHere } from '../core/headers/max-forwards.ts'
import { checkPath } from '../core/routing/check-path.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import { retryAfterSeconds } from '../jobs/estimate.ts'
import type { Millis } from '../lib/units.ts'
import type { BodySink } from '../net/call.ts'
import { BodyCollector, type BodyLimits, type CollectedBody, collectBody } from '../net/body.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'
import { handleBatch, isBatchesPath } from './batch.ts'
import { choiceFor } from './choice.ts'
import type { CallContext } from './context.ts'
import { answerPreflight } from './cors.ts'
import { orderUnknown, type SpillHandOver } from './direct-request.ts'
import { answerSubmission, type EnqueueReason, type Submission, submitCall } from './enqueue.ts'
import { orderOf } from '../jobs/key.ts'
import { observe } from './observe.ts'
import { enterRoute, poolOf, serveLive, serversOf } from './live.ts'
import { clientKeyOf, mayBecomeJob, mustBecomeJob } from './policies.ts'
import { hopOf } from './request-fields.ts'
import { actOn, editedHeaders, markCall, requestEdits } from './actions.ts'
import { openTunnel, type TunnelRequest } from './tunnel.ts'
import type { KeyRef } from '../ports/job-store.ts'

/** How long a body waits for room in memory where no pool says it. */
const ROOM_WAIT_MS: Millis = 2_000
/** Nobody knows when somebody will switch it on again. */
const SWITCHED_OFF_RETRY_MS: Millis = 30_000

export function handleCall(call: DownstreamCall, context: CallContext): void {
  observe(call, context)
  if (context.config.requestId !== undefined || context.config.tracing !== undefined) markCall(call, context)
  const refused = admit(call, context)
  if (refused !== undefined) return sendFailure(call, refused)
  const { path: jobsPath } = context.config.jobs
  if (isJobsPath(call.head.path, jobsPath)) {
    const isBatches = isBatchesPath(call.head.path, jobsPath)
    const shed = context.guard?.sheds === true ? context.guard.jobsRefusal(call.head, isBatches) : undefined
    if (shed !== undefined) return sendFailure(call, shed)
    return settle(call, isBatches ? handleBatch(call, context) : handleJobsCall(call, context), context)
  }

  if (answerOptions(call) || answerPreflight(call, context.router)) return
  const found = context.router.find(call.head)
  if (found === undefined) return sendFailure(call, failure('not_found', 'no route matches this host, path, method, headers and query'))
  const { route } = found
  if (!enterRoute(call, found, context)) return
  const switched = context.modeSwitches.of(route.name)?.mode
  if (switched === 'refuse') return sendFailure(call, switchedOff(context), corsHeaders(route.cors, call))
  const match = route.actions === undefined ? found : actOn(call, found, context)
  if (match === undefined) return

  if (call.head.upgrade !== '' && route.mode !== 'queue') return openTunnel(call, tunnelRequest(call, match, context), context)
  switch (route.mode) {
    case 'direct':
      return serve(call, match, context)
    case 'spill':
      if (switched === 'queue' && mayBecomeJob(call, route))
        return settle(call, answered(call, store(call, match, 'spill', context), context), context)
      if (mustBecomeJob(call, route)) return settle(call, answered(call, store(call, match, 'asked', context), context), context)
      return serveInOrder(call, match, context)
    case 'queue':
      if (!mayBecomeJob(call, route)) {
        const methods = route.methods.join(', ')
        return sendFailure(call, failure('not_queueable', `on this route only ${methods} become jobs, and nothing with an Upgrade`))
      }
      return settle(call, answered(call, store(call, match, 'queue', context), context), context)
  }
}

/** A rejected promise is a bug of ours or an engine that failed: the client hears of it, and so do we. */
function settle(call: DownstreamCall, answering: Promise<unknown>, context: CallContext): void {
  context.storeCalls.track(answering)
  answering.catch((error: unknown) => {
    context.telemetry.event({
      type: 'warning',
      message: `a call failed inside the gateway: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    })
    if (call.responseStarted) call.abort()
    else sendFailure(call, failure('internal', 'the gateway failed at this request; its log says more'))
  })
}

/** What no route may serve. */
function admit(call: DownstreamCall, context: CallContext): Failure | undefined {
  const { head } = call
  if (head.method === 'TRACE' || head.method === 'CONNECT') return failure('not_implemented', `${head.method} is not served here`)
  const wrongPath = head.path === '*' ? undefined : checkPath(head.path)
  if (wrongPath !== undefined) return wrongPath
  if (head.hasVia && isLoop(head.headers, context.config.name)) return failure('loop', `Via names ${context.config.name} too often`)
  if (head.https && call.peer.secure !== true && !call.peer.trusted) return failure('misdirected', 'an https URL is served over TLS only')
  const { body } = context.config.limits
  if (body > 0 && head.bodyLength > body) return failure('body_too_large', `the body is larger than ${body} bytes (limits.body)`)
  return undefined
}

/** What asks about the gateway itself: as a whole, or as the last that a request shall come to (RFC 9110, sections 9.3.7 and 7.6.2). */
function answerOptions(call: DownstreamCall): boolean {
  const { head } = call
  if (head.method !== 'OPTIONS' || (head.target !== '*' && !endsHere(head.headers))) return false
  call.send(204, [], '')
  return true
}

function switchedOff({ random }: CallContext): Failure {
  const seconds = retryAfterSeconds(SWITCHED_OFF_RETRY_MS, random.unit())
  return failure('switched_off', 'An operator has switched this route off for now.', seconds)
}

/** For the server, field by field. */
function forwarded(call: DownstreamCall, match: RouteMatch, context: CallContext): readonly string[] {
  return editedHeaders(forwardRequestHeaders(call.head, call.peer, hopOf(call, context)), requestEdits(call, match, context))
}

function tunnelRequest(call: DownstreamCall, match: RouteMatch, context: CallContext): TunnelRequest {
  const parts = { route: match.route, pool: serversOf(match, context), choice: choiceFor(call, match, context) }
  return { ...parts, target: match.target, headers: forwarded(call, match, context) }
}

/** `order`: others of this key must not pass it, nor it them. */
function serve(call: DownstreamCall, match: RouteMatch, context: CallContext, order?: KeyRef): void {
  const storable = mayBecomeJob(call, match.route) && call.head.bodyLength <= context.config.limits.jobBody
  const spill =
    match.route.mode === 'spill' && storable
      ? (taken: SpillHandOver) => settle(call, answered(call, spillOver(call, match, taken, context), context), context)
      : undefined
  serveLive(call, match, context, { order, spill })
}

/** A request may be served at once, but not before queued ones of its key. */
function serveInOrder(call: DownstreamCall, match: RouteMatch, context: CallContext): void {
  const order = mayBecomeJob(call, match.route) ? orderOf(call, match, clientKeyOf(call.head, match.route)) : undefined
  if (order === undefined) return serve(call, match, context)
  const decided = context.jobs.isHeld(order).then(
    (held) => {
      if (call.gone) return undefined
      if (held) return answered(call, store(call, match, 'spill', context), context)
      return serve(call, match, context, order)
    },
    () => sendFailure(call, orderUnknown(), corsHeaders(match.route.cors, call)),
  )
  settle(call, decided, context)
}

/** Queue mode, and whatever asks to be a job: the body whole, then the store. */
async function store(
  call: DownstreamCall,
  match: RouteMatch,
  reason: EnqueueReason,
  context: CallContext,
): Promise<Submission | undefined> {
  return submit(call, match, { reason, body: await collectBody(call, bodyLimits(match, context)) }, context)
}

function bodyLimits(match: RouteMatch, context: CallContext): BodyLimits {
  const { budget, clock } = context
  const { waitMs } = poolOf(match, context)?.config ?? { waitMs: ROOM_WAIT_MS }
  return { bytesMax: context.config.limits.jobBody, budget, clock, waitMs }
}

/** The direct path gave up before anything was done: what it read of the body, and the rest, become a job. */
async function spillOver(
  call: DownstreamCall,
  match: RouteMatch,
  taken: SpillHandOver,
  context: CallContext,
): Promise<Submission | undefined> {
  if (taken.cause !== 'queueing') context.routeModes.spilled(match.route, taken.cause, taken.reason)
  if (taken.untouched) return submit(call, match, { reason: 'spill', body: await collectBody(call, bodyLimits(match, context)) }, context)
  const collector = new BodyCollector(call, bodyLimits(match, context))
  for (const chunk of taken.chunks) collector.data(chunk)
  if (taken.complete) collector.end()
  else taken.rest = collector satisfies BodySink
  return submit(call, match, { reason: 'spill', body: await collector.done }, context)
}

async function submit(
  call: DownstreamCall,
  match: RouteMatch,
  what: { readonly reason: EnqueueReason; readonly body: CollectedBody },
  context: CallContext,
): Promise<Submission | undefined> {
  const { body, reason } = what
  if (body.kind === 'gone') return undefined
  if (body.kind === 'failed') {
    // There may be more of it.
    call.closeAfter()
    sendFailure(call, reason === 'spill' ? onlyForNow(body.failed) : body.failed, corsHeaders(match.route.cors, call))
    return undefined
  }
  try {
    return await submitCall(call, match, { body: body.bytes, headers: forwarded(call, match, context), reason }, context)
  } finally {
    body.free()
    // The call lives as long as its client is held, and with it what collected the body.
    call.sink = undefined
  }
}

/** What is too large to be stored may be served later: that it cannot be now is not the client's fault. */
function onlyForNow(failed: Failure): Failure {
  return failed.code === 'body_too_large' ? failure('no_capacity', `it cannot be served now, nor stored: ${failed.detail}`) : failed
}

/** What was submitted is answered by who does not know the request's body: a client may be held for long, its body belongs to the store. */
async function answered(call: DownstreamCall, submitting: Promise<Submission | undefined>, context: CallContext): Promise<void> {
  const submission = await submitting
  if (submission !== undefined) await answerSubmission(call, submission, context)
}
