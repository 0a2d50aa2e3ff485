/**
 * From a request to a durable job, and then the first answer about it: 202, the job's events, or, after holding the client, its result.
 * Nothing is said to the client before the store has promised to keep the job. Two functions, because who waits for the second one must
 * not keep the request in memory: the store has it.
 */
import { acceptedHeaders, sendAccepted } from '../api/answer.ts'
import { bindingOf } from '../api/binding.ts'
import { type Clients, NO_PLACE } from '../api/clients.ts'
import { corsHeaders } from '../api/cors.ts'
import { hasSeenEnd, streamEvents, streamFormat } from '../api/event-stream.ts'
import type { FollowParts } from '../api/job-events.ts'
import { jobHeaders } from '../api/document.ts'
import { PRIVATE_HEADERS, sendFailure } from '../api/problem.ts'
import { refusal } from '../api/refused.ts'
import type { Config, QueueConfig, RouteConfig } from '../config/config.ts'
import { type Failure, failure, isFailure } from '../core/errors.ts'
import type { FollowUpPlan } from '../core/jobs/follow-up.ts'
import { fillMaxOf } from '../core/admission/shedding.ts'
import { isIdempotent } from '../core/retry/retry.ts'
import type { RouteMatch } from '../core/routing/router.ts'
import { headerValue, type RequestHead } from '../http1/message.ts'
import type { Jobs } from '../jobs/jobs.ts'
import { queueSettings } from '../jobs/new-job.ts'
import type { Millis } from '../lib/units.ts'
import type { Call } from '../net/call.ts'
import type { Random } from '../ports/clock.ts'
import type { Admission, NewJob, StoredJob, Submitted } from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { holdClient, type HeldJob, type HoldContext } from './hold.ts'
import { idempotencyOf } from './idempotency.ts'
import { extractKey } from '../jobs/key.ts'
import { hasIdempotencyKey, type Policies, readPolicies } from './policies.ts'

export interface EnqueueContext extends HoldContext, FollowParts {
  readonly jobs: Jobs
  readonly telemetry: Telemetry
  readonly clients: Clients
}

/** Why a call is stored: its route queues, no server could take it, or it asks for what only the store can do. */
export type EnqueueReason = 'queue' | 'spill' | 'asked'

export interface StorableRequest {
  readonly reason: EnqueueReason
  readonly body: Uint8Array
  /** As a server shall get them: through `forwardRequestHeaders`. */
  readonly headers: readonly string[]
}

/** Durable: what is still to be said to the client. */
export interface Submission {
  readonly job: StoredJob
  readonly replayed: boolean
  readonly match: RouteMatch
  readonly policies: Policies
  readonly hold: Hold
  readonly cors: readonly string[]
}

/** How long the client is held, and what becomes of the job then. */
interface Hold {
  readonly waitMs: Millis
  readonly onWait: 'accept' | 'cancel'
  /** What of its preferences was applied. */
  readonly applied: readonly string[]
}

/** Whoever holds the client cancels the job by itself; this is for a gateway that has died meanwhile. */
const HOLD_SLACK_MS: Millis = 1_000

/** Who has as many jobs as it may gets no new one, but may ask again for one of those. */
const ONLY_A_REPEAT: Admission = { fillMax: 0 }

/** Undefined: it was refused, and the client has been told. */
export async function submitCall(
  call: Call,
  match: RouteMatch,
  request: StorableRequest,
  context: EnqueueContext,
): Promise<Submission | undefined> {
  const { route } = match
  const cors = corsHeaders(route.cors, call)
  const refuse = (failed: Failure): undefined => {
    if (!call.gone) sendFailure(call, failed, cors)
  }
  const policies = readPolicies(call.head, route)
  if (isFailure(policies)) return refuse(policies)
  const queue = queueOf(context.config, match)
  const hold = holdOf(policies, route, context.config.jobs.waitMaxMs)
  const { clients } = context
  const taken = await clients.takeJob(clients.nameOf(call, route.bind))
  const isFull = isFailure(taken)
  const refuseFull = (full: Failure): undefined => {
    const { jobs: value } = context.config.limits.perClient
    context.telemetry.event({ type: 'limit-reached', limit: 'perClient.jobs', where: route.name, value })
    return refuse(full)
  }
  if (isFull && policies.idempotencyKey === undefined) return refuseFull(taken)
  const place = isFull ? NO_PLACE : taken
  let submitted: Submitted
  try {
    const admission = isFull ? ONLY_A_REPEAT : admissionOf(policies, match, queue, context)
    const job = newJob(call.head, match, { queue, policies, hold, request, admission, random: context.random })
    submitted = await context.jobs.submit(job, { isHeld: hold.onWait === 'cancel' && hold.waitMs > 0 })
  } catch {
    place.free()
    // Whether it is durable is unknown, so it is not accepted; the engine has told its owner what is wrong.
    return refuse(failure('store_unavailable', 'The store did not take the request; whether it will be worked on is unknown.'))
  }
  if (submitted.kind === 'created') place.holds(submitted.job.id)
  else place.free()
  if (submitted.kind === 'conflict') {
    return refuse(
      failure('idempotency_conflict', 'The Idempotency-Key belongs to a request with another method, target, content type or body.'),
    )
  }
  if (submitted.kind === 'refused') return isFull ? refuseFull(taken) : refuse(refusal(context, queue, submitted))
  call.log.job = submitted.job.id
  return { job: submitted.job, replayed: submitted.kind === 'duplicate', match, policies, hold, cors }
}

export function queueOf(config: Config, match: RouteMatch): QueueConfig {
  const queue = config.queues.find((each) => each.name === match.route.queue)
  if (queue === undefined) throw new Error(`route ${match.route.name} stores requests but has no queue`)
  return queue
}

/** `plan`: what is to follow from its end, beside its route's chain. */
export function newJob(
  head: Pick<RequestHead, 'method' | 'target' | 'headers' | 'query'>,
  match: RouteMatch,
  parts: {
    readonly queue: QueueConfig
    readonly policies: Policies
    readonly request: Pick<StorableRequest, 'body' | 'headers'>
    readonly random: Random
    readonly hold?: Hold
    readonly admission?: Admission | undefined
    readonly plan?: FollowUpPlan
  },
): NewJob {
  const { route, params } = match
  const { queue, policies, hold, request, admission, plan = {} } = parts
  const { body, headers } = request
  const routeKey = route.key === undefined ? undefined : extractKey(route.key, { head, params, body })
  const key = routeKey ?? policies.key
  const binding = route.bind === undefined ? undefined : bindingOf(route.bind, head.headers, parts.random)
  const whole: FollowUpPlan = { ...plan, callback: policies.callback, ...(route.then !== undefined && { then: route.then }) }
  const tenant = route.tenant === undefined ? undefined : extractKey(route.tenant, { head, params, body })
  return {
    ...queueSettings(queue, whole),
    route: route.name,
    request: { method: head.method, target: match.target ?? head.target, headers, body },
    priority: policies.priority,
    sendOnce: route.redeliver === 'safe' && !isIdempotent(head.method) && !hasIdempotencyKey(head),
    ...(route.stream === undefined ? {} : { stream: route.stream }),
    ...(key === undefined ? {} : { key }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(binding === undefined ? {} : { binding }),
    ...(policies.delayMs === undefined ? {} : { delayMs: policies.delayMs }),
    ...(hold === undefined ? {} : expiry(queue, policies, hold)),
    ...(policies.reference === undefined ? {} : { reference: policies.reference }),
    ...(policies.idempotencyKey === undefined ? {} : { idempotency: idempotencyOf(policies.idempotencyKey, route, { head, body }) }),
    ...(admission === undefined ? {} : { admission }),
  }
}

/** A job that is to be cancelled when its client has waited long enough must not begin after that, whatever happens to us. */
function expiry({ expireAfterMs }: QueueConfig, { delayMs }: Policies, { waitMs, onWait }: Hold): Pick<NewJob, 'expireAfterMs'> {
  const cancelled = onWait === 'cancel' && waitMs > 0 && delayMs === undefined
  const ms = Math.min(expireAfterMs ?? Number.POSITIVE_INFINITY, cancelled ? waitMs + HOLD_SLACK_MS : Number.POSITIVE_INFINITY)
  return Number.isFinite(ms) ? { expireAfterMs: ms } : {}
}

/** What would expire before its turn is not taken; and what is least urgent not, where the queue fills up. */
function admissionOf(
  { priority }: Policies,
  { route }: RouteMatch,
  { name, expireAfterMs, shedFrom }: QueueConfig,
  { jobs }: EnqueueContext,
): Admission | undefined {
  const aheadMax = expireAfterMs === undefined ? undefined : jobs.aheadMax(name, expireAfterMs)
  const fillMax = shedFrom === undefined || !route.allow.includes('priority') ? undefined : fillMaxOf(priority, shedFrom)
  if (aheadMax === undefined && fillMax === undefined) return undefined
  return { ...(aheadMax !== undefined && { aheadMax }), ...(fillMax !== undefined && { fillMax }) }
}

/** Resolves when the client has been answered, its events flow, or it is gone. */
export async function answerSubmission(call: Call, submission: Submission, context: EnqueueContext): Promise<void> {
  const { job, replayed, match, policies, hold, cors } = submission
  const { preferences } = policies
  const { waitMs, onWait } = hold
  const applied = [...hold.applied]
  const extraHeaders = [...cors]
  if (replayed) extraHeaders.push('Idempotency-Replayed', 'true')
  const wanted = preferences.respondAsync && preferences.events ? streamFormat(headerValue(call.head.headers, 'accept')) : undefined
  const leave =
    wanted === undefined || hasSeenEnd(call, job) ? undefined : context.clients.takeWatch(context.clients.nameOf(call, match.route.bind))
  // The job is there: who watches too much already hears of it by its link.
  const format = typeof leave === 'object' ? undefined : wanted
  if (format !== undefined) applied.push('events')
  if (applied.length > 0) extraHeaders.push('Preference-Applied', applied.join(', '))
  if (format === undefined && waitMs > 0) {
    const held: HeldJob = { job, waitMs, onWait, replayed, extraHeaders }
    return holdClient(call, context, held)
  }
  if (call.gone) return typeof leave === 'function' ? leave() : undefined
  if (format === undefined) sendAccepted(call, context, job, extraHeaders)
  else if (typeof leave !== 'function') call.send(204, [...jobHeaders(job), ...PRIVATE_HEADERS, ...extraHeaders], '')
  else
    streamEvents(call, context, job, {
      format,
      status: 202,
      extraHeaders: [...streamHeaders(context, job), ...extraHeaders],
      onOver: leave,
    })
}

/** Those of a 202 that the stream does not set by itself. */
function streamHeaders(context: EnqueueContext, job: StoredJob): string[] {
  const headers = acceptedHeaders(context, job)
  const own = new Set(['Location', 'Retry-After'])
  return headers.filter((_, i) => own.has(headers[i - (i % 2)] as string))
}

/** The client's wish within the gateway's limit, else the route's own wait. */
function holdOf({ preferences }: Policies, route: RouteConfig, waitMaxMs: Millis): Hold {
  const { respondAsync, waitMs: wanted } = preferences
  const applied = respondAsync ? ['respond-async'] : []
  // A client that may be told "later" is not told "never".
  const onWait = respondAsync ? 'accept' : route.onWait
  if (wanted === undefined) return { waitMs: respondAsync ? 0 : route.waitMs, onWait, applied }
  const waitMs = Math.min(wanted, waitMaxMs)
  return { waitMs, onWait, applied: [...applied, `wait=${Math.floor(waitMs / 1000)}`] }
}
