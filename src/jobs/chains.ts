/**
 * Chains: the result of a job that has succeeded is sent on as the request of another one. A job that did not succeed ends its chain. Where a result
 * cannot be sent on, the chain stops there: the job has succeeded all the same, and its status says why nothing followed.
 */
import type { Config, QueueConfig, RouteConfig } from '../config/config.ts'
import { editedFields, withoutFields } from '../core/actions/header-edits.ts'
import { parameterOf, rewriteTarget } from '../core/actions/rewrite.ts'
import type { ErrorCode, Failure } from '../core/errors.ts'
import { followUpPlan } from '../core/jobs/follow-up.ts'
import { matchOf, paramsOf, type Then } from '../core/jobs/then.ts'
import { isIdempotent } from '../core/retry/retry.ts'
import { headerValue } from '../http1/message.ts'
import type { Bytes } from '../lib/units.ts'
import type { JobAnswer, JobError, JobRequest, NewJob, StoredJob } from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { FollowUpMaker } from './follow-ups.ts'
import { extractKey, type KeyedRequest } from './key.ts'
import { queueSettings } from './new-job.ts'

export interface ChainParts {
  readonly config: () => Pick<Config, 'routes' | 'limits'>
  /** Undefined: there is no such queue, or it is no longer defined. */
  readonly queue: (name: string) => QueueConfig | undefined
  readonly telemetry: Pick<Telemetry, 'event'>
}

/** What of a result says how its body is to be read. */
const PASSED_ON = ['Content-Type', 'Content-Encoding', 'Content-Language'] as const
const NAME = 'then'
const HOST: ReadonlySet<string> = new Set(['host'])

type Chained = Omit<NewJob, 'idempotency'>

/** A maker of what follows from ended jobs. */
export function chains(parts: ChainParts): FollowUpMaker {
  return async (ended) => {
    const { job } = ended
    const { then } = followUpPlan(job.followUp)
    // It may have been made before, where something else had no room.
    if (then === undefined || job.status !== 'succeeded' || job.next !== undefined) return undefined
    const place = placeOf(parts, then, job)
    if (!('code' in place) && !(await ended.hasRoom(place.queue.name))) return 'waits'
    const next = 'code' in place ? place : nextJob(parts, { ...place, then, job }, await ended.answer())
    if (!('code' in next)) return { jobs: [{ name: NAME, job: next }], next: NAME }
    parts.telemetry.event({ type: 'chain-stopped', job: job.id, queue: job.queue, detail: next.detail })
    return { jobs: [], next }
  }
}

interface Place {
  readonly route: RouteConfig | undefined
  readonly queue: QueueConfig
  readonly depth: number
}

function placeOf(parts: ChainParts, then: Then, { parent }: StoredJob): Place | JobError {
  const { routes, limits } = parts.config()
  const depth = (parent?.depth ?? 1) + 1
  if (depth > limits.chain) return stopped('chain_too_long', `the chain has ${limits.chain} jobs, as many as it may have (limits.chain)`)
  const route = then.route === undefined ? undefined : routes.find(({ name }) => name === then.route)
  const name = then.route === undefined ? then.queue : route?.queue
  const queue = name === undefined ? undefined : parts.queue(name)
  if (queue !== undefined) return { route, queue, depth }
  const where = then.route === undefined ? `queue ${then.queue}` : `route ${then.route} that keeps jobs`
  return stopped('chain_broken', `there is no ${where} any more`)
}

interface Link extends Place {
  readonly then: Then
  readonly job: StoredJob
}

function nextJob(parts: ChainParts, { then, job, route, queue, depth }: Link, answer: JobAnswer | undefined): Chained | JobError {
  const { limits } = parts.config()
  if (answer === undefined && job.hasAnswer) return stopped('chain_broken', 'the result cannot be read')
  const request = requestOf(then, route, answer)
  const acted = route === undefined ? request : requestFor(route, request)
  if ('code' in acted) return stopped('chain_broken', `route ${route?.name} cannot rewrite ${request.target}: ${acted.detail}`)
  const bytes = answer?.blob?.bytes ?? request.body.length
  if (bytes > limits.jobBody)
    return stopped('chain_result_too_large', `the result has ${bytes} bytes, more than the next job may have (limits.jobBody)`)
  // It would wait for room that there will never be.
  if (weightOf(request) > queue.limits.bytes)
    return stopped('chain_result_too_large', `the result has ${bytes} bytes, more than queue ${queue.name} may hold (limits.bytes)`)
  return {
    ...queueSettings(queue, route?.then === undefined ? {} : { then: route.then }),
    route: route?.name ?? 'chain',
    request: acted,
    priority: job.priority,
    sendOnce: route?.redeliver === 'safe' && !isIdempotent(request.method) && headerValue(request.headers, 'idempotency-key') === undefined,
    parent: { id: job.id, depth },
    ...orderOf(route, job, request),
    // It holds what became of the same input: whoever may not see the one may not see the other.
    ...(job.binding !== undefined && { binding: job.binding }),
    ...(job.reference !== undefined && { reference: job.reference }),
  }
}

function stopped(code: ErrorCode, detail: string): JobError {
  return { code, detail }
}

/** As the store weighs it. */
function weightOf({ method, target, headers, body }: JobRequest): Bytes {
  return Buffer.byteLength(JSON.stringify([method, target, headers])) + body.length
}

/** The result, as what it says it is. */
function requestOf(
  { method = 'POST', target = '/', headers: own = [] }: Then,
  route: RouteConfig | undefined,
  answer: JobAnswer | undefined,
): JobRequest {
  const headers = [...own]
  const host = route?.match.host
  if (host !== undefined && !host.startsWith('*') && headerValue(headers, 'host') === undefined) headers.push('Host', host)
  for (const name of PASSED_ON) {
    const value = headerValue(answer?.headers ?? [], name.toLowerCase())
    if (value !== undefined && headerValue(own, name.toLowerCase()) === undefined) headers.push(name, value)
  }
  return { method, target, headers, body: answer?.body ?? new Uint8Array(0) }
}

/** As the route changes what comes by it; of a job there is no client to tell of. */
function requestFor(route: RouteConfig, request: JobRequest): JobRequest | Failure {
  const { rewrite, request: edits } = route.actions ?? {}
  const found = matchOf(route, request.target)
  if (found === undefined || (rewrite ?? edits) === undefined) return request
  const path = request.target.split('?', 1)[0] as string
  const target = rewrite && rewriteTarget(rewrite, { ...found, path, target: request.target })
  if (typeof target === 'object') return target
  const headers = rewrite?.host === undefined ? request.headers : [...withoutFields(request.headers, HOST), 'Host', rewrite.host]
  const edited = edits && [...withoutFields(headers, edits.drop), ...editedFields(edits, (name) => parameterOf(name, { ...found, path }))]
  return { ...request, target: target ?? request.target, headers: edited ?? headers }
}

/** What the route finds in the request, else what the job before it had. */
function orderOf(route: RouteConfig | undefined, job: StoredJob, request: JobRequest): Pick<NewJob, 'key' | 'tenant'> {
  const { headers, target, body } = request
  const query = target.includes('?') ? target.slice(target.indexOf('?') + 1) : ''
  const keyed: KeyedRequest = { head: { headers, query }, params: (route && paramsOf(route, target)) ?? {}, body }
  const key = (route?.key && extractKey(route.key, keyed)) ?? job.key
  const tenant = (route?.tenant && extractKey(route.tenant, keyed)) ?? job.tenant
  return { ...(key !== undefined && { key }), ...(tenant !== undefined && { tenant }) }
}
