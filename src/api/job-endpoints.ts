/**
 * The addresses of jobs on every listener, `<jobs.path>/…`: status, result, events, cancel, and the reports of servers; below `api`, the queue API.
 * A wrong secret, an unknown id and a job whose retention is over are one and the same 404.
 */
import { dressResult } from './dress.ts'
import { type Failure, failure, isFailure } from '../core/errors.ts'
import { parsePreferences } from '../core/headers/prefer.ts'
import { type FlatHeaders, headerValue, headerValues } from '../http1/message.ts'
import { isEnded } from '../jobs/watch.ts'
import { parseDuration } from '../lib/duration.ts'
import type { Millis } from '../lib/units.ts'
import type { Call } from '../net/call.ts'
import type { ReadJob, StoredJob } from '../ports/job-store.ts'
import { boundBy, isCaller } from './binding.ts'
import { sendEnded, sendStatus, versionKnown } from './answer.ts'
import { answerBatch } from './batch-endpoints.ts'
import { handleApiCall } from './queues/call-adapter.ts'
import type { ApiParts } from './queues/parts.ts'
import type { ApiKeys } from './queues/rights.ts'
import { corsForJobs, corsHeaders, isPreflight, sendPreflight, shownBy } from './cors.ts'
import { jobHeaders } from './document.ts'
import { type Address, isJobsPath, type JobResource, METHODS, readAddress } from './job-addresses.ts'
import type { EventSockets, SocketParts } from './event-socket.ts'
import { hasSeenEnd, streamEvents, streamFormat } from './event-stream.ts'
import { leaving } from './leaving.ts'
import { PRIVATE_HEADERS, sendFailure } from './problem.ts'
import { handleReport } from './reports.ts'
import { sendStreamedResult } from './streamed-result.ts'
import { parseToken, secretMatches, type TokenParts } from './token.ts'

export interface JobsApi extends Omit<SocketParts, 'jobs'>, ApiParts {
  readonly eventSockets: EventSockets
  readonly apiKeys: ApiKeys
}

export async function handleJobsCall(call: Call, api: JobsApi): Promise<void> {
  const apiPath = `${api.config.jobs.path}/api`
  if (isJobsPath(call.head.path, apiPath)) return handleApiCall(call, api, api.apiKeys, call.head.path.slice(apiPath.length + 1))
  call.log.mode = 'jobs'
  const cors = corsForJobs([api.config.cors, ...api.config.routes.map((route) => route.cors)], call)
  const extraHeaders = corsHeaders(cors, call)
  const shown = shownBy(call, cors, api.config.jobs.publicUrl)
  if (call.head.path === `${api.config.jobs.path}/events` && call.head.upgrade !== '') {
    const failed = api.eventSockets.accept(call, api, undefined, { extraHeaders, shown })
    return failed === undefined ? undefined : sendFailure(call, failed, extraHeaders)
  }
  const address = readAddress(call.head.path, api.config.jobs.path)
  if (address === undefined) return sendFailure(call, failure('not_found', 'There is nothing at this address.'), extraHeaders)
  const methods = METHODS[address.resource]
  if (cors !== undefined && isPreflight(call)) return sendPreflight(call, cors, methods)
  if (!methods.includes(call.head.method)) {
    const allow = methods.join(', ')
    return sendFailure(call, failure('method_not_allowed', `Allowed here: ${allow}.`), [...extraHeaders, 'Allow', allow])
  }
  const failed = await carryOut(call, api, address, { extraHeaders, shown })
  if (failed !== undefined && !call.gone) sendFailure(call, failed, extraHeaders)
}

/** Undefined: answered, or nobody is there any more. */
type Outcome = Failure | undefined

async function carryOut(call: Call, api: JobsApi, { resource, token }: Address, answering: Answering): Promise<Outcome> {
  try {
    switch (resource) {
      case 'batch':
      case 'batch-jobs':
      case 'batch-events': {
        const waitMs = waitOf(call, api.config.jobs.waitMaxMs)
        if (typeof waitMs !== 'number') return waitMs
        return await answerBatch(call, api, { resource, token: parseToken(token), extraHeaders: answering.extraHeaders, waitMs })
      }
      case 'status':
      case 'result':
      case 'events':
        return await answer(call, api, { resource, token: parseToken(token), ...answering })
      default:
        return await handleReport(call, api, token, resource)
    }
  } catch {
    // The engine has told its owner what is wrong.
    return failure('store_unavailable', 'The store cannot be asked now.')
  }
}

function noSuchJob(): Failure {
  return failure('no_such_job', 'The address is wrong, or the job is no longer kept.')
}

interface Answering {
  readonly extraHeaders: readonly string[]
  /** Of the headers of the call, those that say who it is. */
  readonly shown: FlatHeaders
}

interface Asked extends Answering {
  readonly resource: JobResource
  readonly token: TokenParts | undefined
}

async function answer(call: Call, api: JobsApi, asked: Asked): Promise<Outcome> {
  if (asked.token === undefined) return noSuchJob()
  const { id, secret } = asked.token
  const found = await api.jobs.read(id, 'status')
  if (!secretMatches(found?.job, secret) || found === undefined || !isCaller(found.job, asked.shown)) return noSuchJob()
  call.log.job = id
  if (call.gone) return undefined
  if (call.head.method === 'DELETE') return cancel(call, api, found.job, asked.extraHeaders)
  if (asked.resource === 'events') return events(call, api, found.job, asked)
  const waitMs = waitOf(call, api.config.jobs.waitMaxMs)
  if (typeof waitMs !== 'number') return waitMs
  if (asked.resource === 'result') dressResult(call, found.job.route, api)
  if (asked.resource === 'result' && found.job.stream !== undefined)
    return sendStreamedResult(call, api, found.job, { waitMs, extraHeaders: asked.extraHeaders })
  const unlike = asked.resource === 'status' ? versionKnown(call) : undefined
  const known = waitMs === 0 || isEnded(found.job.status) || (unlike !== undefined && unlike !== found.job.version)
  const waited = known ? found : await inTurn(call, api, found.job, () => waitFor(call, api, id, { waitMs, unlike }))
  if (waited !== undefined && isFailure(waited)) return waited
  const now = waited ?? (await api.jobs.read(id, 'status'))
  if (call.gone) return undefined
  if (now === undefined) return noSuchJob()
  if (asked.resource === 'result' && isEnded(now.job.status)) return sendResult(call, api, now, asked)
  sendStatus(call, api, now.job, { status: asked.resource === 'status' ? 200 : 202, extraHeaders: asked.extraHeaders })
  return undefined
}

async function sendResult(call: Call, api: JobsApi, ended: ReadJob, asked: Asked): Promise<Outcome> {
  const taken = await api.jobs.result(ended, { budget: api.budget, wanted: () => !call.gone })
  if (taken.kind === 'missing') return noSuchJob()
  if (taken.kind === 'full') return failure('buffers_full', 'The bodies held in memory are at their limit (limits.buffered).')
  sendEnded(call, taken, { to: 'replay', extraHeaders: asked.extraHeaders })
  return undefined
}

interface Wait {
  readonly waitMs: Millis
  readonly unlike: number | undefined
}

/** Where the client may wait once more. */
async function inTurn<T>(call: Call, api: JobsApi, job: StoredJob, wait: () => Promise<T>): Promise<T | Failure> {
  const leave = api.clients.takeWatch(api.clients.nameOf(call, boundBy(job)))
  if (typeof leave !== 'function') return leave
  try {
    return await wait()
  } finally {
    leave()
  }
}

/** Ends early when the client leaves or the gateway shuts down: a poll costs the client nothing to repeat. */
async function waitFor(call: Call, api: JobsApi, id: string, { waitMs, unlike }: Wait): Promise<ReadJob | undefined> {
  using left = leaving(call, api.jobs.closing)
  return await api.jobs.waitEnd(id, waitMs, { signal: left.signal, unlike })
}

/** `?wait=30s` or `Prefer: wait=30`; at most what the gateway allows. */
function waitOf(call: Call, waitMaxMs: Millis): Millis | Failure {
  const query = new URLSearchParams(call.head.query).get('wait')
  if (query === null) return Math.min(parsePreferences(headerValues(call.head.headers, 'prefer')).waitMs ?? 0, waitMaxMs)
  const waitMs = parseDuration(/^\d+$/.test(query) ? `${query}s` : query)
  if (waitMs === undefined) return failure('bad_request', 'The query parameter `wait` is a duration such as 30s.')
  return Math.min(waitMs, waitMaxMs)
}

function events(call: Call, api: JobsApi, job: StoredJob, answering: Answering): Outcome {
  const { extraHeaders } = answering
  if (call.head.upgrade !== '') return api.eventSockets.accept(call, api, job, answering)
  const format = streamFormat(headerValue(call.head.headers, 'accept'))
  if (format === undefined) return failure('not_acceptable', 'Events come as text/event-stream or application/x-ndjson.')
  if (hasSeenEnd(call, job)) {
    call.send(204, [...jobHeaders(job), ...PRIVATE_HEADERS, ...extraHeaders], '')
    return undefined
  }
  const onOver = api.clients.takeWatch(api.clients.nameOf(call, boundBy(job)))
  if (typeof onOver !== 'function') return onOver
  streamEvents(call, api, job, { format, status: 200, extraHeaders, onOver })
  return undefined
}

async function cancel(call: Call, api: JobsApi, job: StoredJob, extraHeaders: readonly string[]): Promise<Outcome> {
  const outcome = await api.jobs.cancel(job.id, false)
  const after = outcome.kind === 'done' || outcome.kind === 'unchanged' ? outcome.job : undefined
  if (after === undefined) return noSuchJob()
  sendStatus(call, api, after, { status: 200, extraHeaders })
  return undefined
}
