/**
 * `POST <jobs.path>/batches`: many requests at once, each matched against the routes as if it had come alone, taken together or not at all. What is
 * wrong with any of them is told by its place in the list, and nothing is stored then.
 */
import { createHash } from 'node:crypto'
import { batchDocument, batchLinks } from '../api/batch-document.ts'
import { bindingOf } from '../api/binding.ts'
import { corsForJobs, corsHeaders, isPreflight, sendPreflight } from '../api/cors.ts'
import { isJobsPath } from '../api/job-addresses.ts'
import { PRIVATE_HEADERS, sendFailure } from '../api/problem.ts'
import { batchRefusal } from '../api/refused.ts'
import { type Failure, failure, isFailure } from '../core/errors.ts'
import { forwardRequestHeaders } from '../core/headers/forward.ts'
import { type BatchDocument, readBatchDocument, readBatchItem } from '../core/jobs/batch-document.ts'
import { type DocumentLimits, isWrong, wrongText } from '../core/jobs/job-document.ts'
import { checkPath } from '../core/routing/check-path.ts'
import { headerValue, headerValues } from '../http1/message.ts'
import type { JobPlace } from '../api/clients.ts'
import { idAt } from '../jobs/batch-notes.ts'
import type { NewBatch, RefusedBatch, TakenBatch } from '../jobs/batches.ts'
import { requestOf } from '../jobs/new-job.ts'
import { parseExactly } from '../lib/exact-json.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import { collectBody } from '../net/body.ts'
import type { Call } from '../net/call.ts'
import type { NewJob } from '../ports/job-store.ts'
import { editedHeaders, requestEdits, rewrittenTarget } from './actions.ts'
import type { CallContext } from './context.ts'
import { newJob, queueOf } from './enqueue.ts'
import { mayBecomeJob, readIdempotencyKey, readPolicies } from './policies.ts'
import { hopOf } from './request-fields.ts'

/** For room in memory. */
const ROOM_WAIT_MS: Millis = 2000
/** So many of those that are wrong are told. */
const TOLD_MAX = 100
/** After so many it is somebody else's turn. */
const AT_ONCE = 500

export function isBatchesPath(path: string, jobsPath: string): boolean {
  return path.length === jobsPath.length + '/batches'.length && path.endsWith('/batches') && isJobsPath(path, jobsPath)
}

/** Resolves when the client has been answered or is gone. */
export async function handleBatch(call: Call, context: CallContext): Promise<void> {
  call.log.mode = 'jobs'
  const { config } = context
  const cors = corsForJobs([config.cors, ...config.routes.map((route) => route.cors)], call)
  if (cors !== undefined && isPreflight(call)) return sendPreflight(call, cors, ['POST'])
  const extraHeaders = corsHeaders(cors, call)
  const outcome = await submitBatch(call, context)
  if (outcome === undefined || call.gone) return
  // There may be more of the body that nobody wants.
  if (!call.body.complete) call.closeAfter()
  if ('failed' in outcome) {
    const { failed, headers = [], more = {} } = outcome
    return sendFailure(call, failed, [...extraHeaders, ...headers], more)
  }
  const { batch, kind } = outcome
  const replayed = kind === 'duplicate' ? ['Idempotency-Replayed', 'true'] : []
  const headers = ['Location', batchLinks(config, batch).self, 'Content-Type', 'application/json', ...PRIVATE_HEADERS]
  call.send(202, [...headers, 'Retry-After', '1', ...replayed, ...extraHeaders], JSON.stringify(batchDocument(config, batch)))
}

interface Refused {
  readonly failed: Failure
  readonly headers?: readonly string[]
  readonly more?: Readonly<Record<string, unknown>>
}

/** Undefined: the client has gone. */
async function submitBatch(call: Call, context: CallContext): Promise<TakenBatch | Refused | undefined> {
  const { head } = call
  if (head.method !== 'POST') return { failed: failure('method_not_allowed', 'Allowed here: POST.'), headers: ['Allow', 'POST'] }
  // A form in somebody's page can send anything but this.
  const type = headerValue(head.headers, 'content-type')?.split(';', 1)[0]?.trim().toLowerCase()
  if (type !== 'application/json') return { failed: failure('unsupported_type', 'The content type must be application/json.') }
  const key = readIdempotencyKey(head)
  if (typeof key === 'object') return { failed: key }
  const { api, limits } = context.config
  const body = await collectBody(call, { bytesMax: api.body, budget: context.budget, clock: context.clock, waitMs: ROOM_WAIT_MS })
  if (body.kind === 'gone') return undefined
  if (body.kind === 'failed') {
    return {
      failed:
        body.failed.code === 'body_too_large'
          ? failure('body_too_large', `A batch has at most ${api.body} bytes (api.body).`)
          : body.failed,
    }
  }
  try {
    const value = parsed(body.bytes)
    if (value === undefined) return { failed: failure('invalid_request', 'The body is not valid JSON in UTF-8.') }
    const document = readBatchDocument(value, { list: 'requests', max: limits.batch })
    if (isWrong(document)) return { failed: failure('invalid_request', `${wrongText('', document)}.`) }
    const jobs = await jobsOf(call, document, context)
    if ('failed' in jobs) return jobs
    const once = key === undefined ? undefined : { scopeKey: scopeOf(call, key), fingerprint: fingerprintOf(call, body.bytes) }
    const { reference } = document
    const batch: NewBatch = { jobs, ...(reference !== undefined && { reference }), ...(once !== undefined && { once }) }
    return await submitWithin(call, batch, context)
  } finally {
    body.free()
  }
}

/** A batch is as many jobs of its client as it has, who is told apart by its address: its requests may name several identities. */
async function submitWithin(call: Call, batch: NewBatch, context: CallContext): Promise<TakenBatch | Refused> {
  const { clients } = context
  const places: JobPlace[] = []
  const free = (): void => places.forEach((place) => place.free())
  for (let i = 0; i < batch.jobs.length && clients.countsJobs; i++) {
    const place = await clients.takeJob(clients.nameOf(call, undefined))
    if (isFailure(place)) {
      free()
      const before = await context.jobs.batches.repeated(batch.once)
      return before === undefined ? { failed: place } : told(before, context)
    }
    places.push(place)
  }
  const taken = await submit(batch, context)
  if ('batch' in taken && taken.kind === 'created') places.forEach((place, i) => place.holds(idAt(taken.batch.id, i)))
  else free()
  return taken
}

/** What each of them is given of headers may be much more than what was sent. */
async function submit(batch: NewBatch, context: CallContext): Promise<TakenBatch | Refused> {
  const bytes = batch.jobs.reduce((sum, { request }) => sum + request.body.length + lengthOf(request.headers), 0)
  if (!context.budget.take(bytes)) {
    const detail = `With their headers the requests are ${bytes} bytes, for which there is no room now (limits.buffered). Send fewer at once.`
    return { failed: failure('buffers_full', detail, 1) }
  }
  try {
    return told(await context.jobs.batches.submit(batch).catch(() => undefined), context)
  } finally {
    context.budget.give(bytes)
  }
}

function told(submitted: TakenBatch | RefusedBatch | undefined, context: CallContext): TakenBatch | Refused {
  return submitted !== undefined && 'batch' in submitted ? submitted : { failed: batchRefusal(context, submitted) }
}

function lengthOf(headers: readonly string[]): Bytes {
  return headers.reduce((sum, text) => sum + text.length, 0)
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return parseExactly(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch {
    return undefined
  }
}

async function jobsOf(call: Call, { items }: BatchDocument, context: CallContext): Promise<readonly NewJob[] | Refused> {
  const jobs: NewJob[] = []
  const errors: { readonly index: number; readonly code: string; readonly detail: string }[] = []
  let wrong = 0
  for (const [index, item] of items.entries()) {
    if (index > 0 && index % AT_ONCE === 0) await new Promise((resolve) => setImmediate(resolve))
    const job = jobOf(call, { item, index }, context)
    if (!isFailure(job)) {
      jobs.push(job)
      continue
    }
    wrong += 1
    if (errors.length < TOLD_MAX) errors.push({ index, code: job.code, detail: job.detail })
  }
  const [first] = errors
  if (first === undefined) return jobs
  const others = wrong === 1 ? '' : ` ${wrong} of them cannot be taken.`
  const detail = first.detail.replace(/\.$/, '')
  return { failed: failure('batch_refused', `requests[${first.index}]: ${detail}.${others}`), more: { errors } }
}

/** As if it had come alone. */
function jobOf(call: Call, { item, index }: { readonly item: unknown; readonly index: number }, context: CallContext): NewJob | Failure {
  const { config } = context
  const document = readBatchItem(item, limitsOf(context))
  const request = isWrong(document) ? document : requestOf(document, config.limits.jobBody)
  if ('wrong' in request) return failure('invalid_request', `${wrongText('', request)}.`)
  const { method, target, body } = request
  const [path = '', query = ''] = splitTarget(target)
  const refused = checkPath(path)
  if (refused !== undefined) return refused
  const headers = withCallers(call, request.headers)
  const host = (headerValue(headers, 'host') ?? '').toLowerCase()
  const head = { method, target, path, query, headers, host, connection: '', minor: 1, upgrade: '' } as const
  const match = isJobsPath(path, config.jobs.path) ? undefined : context.router.find(head)
  if (match === undefined) return failure('not_found', `no route matches ${method} ${path}`)
  const { route } = match
  if (context.modeSwitches.of(route.name)?.mode === 'refuse') return failure('switched_off', `${route.name} is switched off for now`)
  if (!mayBecomeJob({ head }, route)) return failure('not_queueable', `on ${route.name} this does not become a job`)
  const policies = readPolicies(head, route)
  if (isFailure(policies)) return policies
  const rewritten = rewrittenTarget(head, match)
  if (typeof rewritten === 'object') return rewritten
  const acted = { head, log: call.log, peer: call.peer, marks: call.marks }
  const forwarded = editedHeaders(forwardRequestHeaders(head, call.peer, hopOf(call, context)), requestEdits(acted, match, context))
  const { random } = context
  const parts = { queue: queueOf(config, match), policies, request: { body, headers: forwarded }, random, plan: { batch: { index } } }
  // Only the batch as a whole is told apart from a repeat.
  const { idempotency: _, ...job } = newJob(head, rewritten === undefined ? match : { ...match, target: rewritten }, parts)
  // Where it does not say itself whose it is, it is whoever has sent the batch.
  const binding = job.binding ?? (route.bind && bindingOf(route.bind, call.head.headers, random))
  return binding === undefined ? job : { ...job, binding }
}

function limitsOf({ config: { limits } }: CallContext): DocumentLimits {
  return { headBytesMax: limits.head, headersMax: limits.headers, targetBytesMax: limits.target }
}

function splitTarget(target: string): readonly string[] {
  const at = target.indexOf('?')
  return at < 0 ? [target] : [target.slice(0, at), target.slice(at + 1)]
}

/** Where the batch was sent to, and who sent it, where a request does not say it itself. */
function withCallers({ head }: Call, headers: readonly string[]): readonly string[] {
  const added: string[] = []
  for (const [name, lower] of [
    ['Host', 'host'],
    ['Authorization', 'authorization'],
  ] as const) {
    const value = headerValue(head.headers, lower)
    if (value !== undefined && headerValue(headers, lower) === undefined) added.push(name, value)
  }
  return [...added, ...headers]
}

function scopeOf({ head }: Call, key: string): string {
  return sha256(JSON.stringify(['batch', headerValues(head.headers, 'authorization'), key]))
}

function fingerprintOf({ head }: Call, body: Uint8Array): string {
  return sha256(JSON.stringify([head.host, sha256(body)]))
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
