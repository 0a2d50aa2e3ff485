/** Looking: pages of jobs, what is next in line, one job with all that belongs to it, and the keys that are held. */
import type { Failure } from '../../core/errors.ts'
import { failure, isFailure } from '../../core/errors.ts'
import type { Bytes } from '../../lib/units.ts'
import type { JobFilter, JobRequest, ReadJob, StoredJob } from '../../ports/job-store.ts'
import { queryFilter } from './filter.ts'
import { jobJson } from './job-view.ts'
import { type ApiParts, mayNot, noSuchJob, queueFor } from './parts.ts'
import { type ApiRequest, invalid, json, jsonText, type Outcome } from './request.ts'
import { search } from './search.ts'

export const LIMIT_DEFAULT = 100
export const LIMIT_MAX = 1000
const TEXT_LENGTH_MAX = 256
/** Waiting jobs from which what is next in line is told. */
const PEEK_WINDOW = 1000
/** Bodies in one answer; the last of them may be larger. */
const BODIES_MAX: Bytes = 16 * 1024 * 1024

export async function browse(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'browse', name)
  if (isFailure(queue)) return queue
  const { query } = request
  const filter = queryFilter(query)
  if (typeof filter === 'string') return invalid(filter)
  const max = countOf(query, 'limit', LIMIT_DEFAULT, LIMIT_MAX)
  if (typeof max === 'string') return invalid(max)
  const after = query.get('after') ?? undefined
  if (after !== undefined && !/^[0-9a-z]{1,32}$/.test(after)) return invalid('after: must be what `next` of the page before was.')
  const order = query.get('order')
  if (order !== null && order !== 'newest' && order !== 'oldest') return invalid('order: must be newest or oldest.')
  const text = query.get('text') ?? ''
  if (text.length > TEXT_LENGTH_MAX) return invalid(`text: has more than ${TEXT_LENGTH_MAX} characters.`)
  const asked = { filter: { ...filter, queue: name }, newestFirst: order === 'newest', max, ...(after === undefined ? {} : { after }) }
  const { queues } = parts.jobs
  const page = text === '' ? await queues.browse(asked) : await search(queues, parts.budget, asked, text)
  const withRequests = includes(query, 'request')
  const shown = withRequests
    ? await withBodies(parts, page.jobs)
    : { texts: page.jobs.map((job) => jobJson(job)), free: undefined, shown: page.jobs.length }
  if (isFailure(shown)) return shown
  // What had no room is on the next page.
  const next = shown.shown < page.jobs.length ? page.jobs[shown.shown - 1]?.id : page.next
  return jsonText(`{"jobs":[${shown.texts.join(',')}]${next === undefined ? '' : `,"next":"${next}"`}}`, shown.free)
}

/** The order of the line is the store's: by priority, then by age; tenants that take turns and ageing may change it by the time it comes to that. */
export async function peek(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'browse', name)
  if (isFailure(queue)) return queue
  const max = countOf(request.query, 'max', 10, LIMIT_DEFAULT)
  if (typeof max === 'string') return invalid(max)
  const next = (await waiting(parts, { queue: name, statuses: ['queued', 'retrying'] }))
    .filter((job) => job.notBefore === undefined && job.blockedBy === undefined)
    .sort((a, b) => b.priority - a.priority || (a.id < b.id ? -1 : 1))
    .slice(0, max)
  const shown = await withBodies(parts, next)
  return isFailure(shown) ? shown : jsonText(`{"jobs":[${shown.texts.join(',')}]}`, shown.free)
}

async function waiting(parts: ApiParts, filter: JobFilter): Promise<StoredJob[]> {
  const jobs: StoredJob[] = []
  let after: string | undefined
  for (let looked = 0; looked < PEEK_WINDOW; looked += LIMIT_DEFAULT) {
    const page = await parts.jobs.queues.browse({ filter, max: PEEK_WINDOW - jobs.length, ...(after === undefined ? {} : { after }) })
    jobs.push(...page.jobs)
    after = page.next
    if (after === undefined || jobs.length >= PEEK_WINDOW) break
  }
  return jobs
}

export async function showJob(request: ApiRequest, parts: ApiParts, id: string): Promise<Outcome> {
  const found = await jobFor(request, parts, id, 'browse')
  if (isFailure(found)) return found
  const { query } = request
  const { queues } = parts.jobs
  const read = async (want: 'request' | 'result' | 'history'): Promise<ReadJob | undefined> =>
    includes(query, want) ? (await queues.read([id], want))[0] : undefined
  const bytes = (includes(query, 'request') ? found.requestBytes : 0) + (includes(query, 'result') ? (found.resultBytes ?? 0) : 0)
  if (!parts.budget.take(bytes)) return noRoom()
  const free = (): void => parts.budget.give(bytes)
  try {
    const { request: kept } = (await read('request')) ?? {}
    const { answer } = (await read('result')) ?? {}
    const { history } = (await read('history')) ?? {}
    return jsonText(jobJson(found, { request: kept, answer, history }), free)
  } catch (error) {
    free()
    throw error
  }
}

/** A job of a queue that the caller may not see is not there. */
export async function jobFor(request: ApiRequest, parts: ApiParts, id: string, right: 'browse' | 'manage'): Promise<StoredJob | Failure> {
  const job = (await parts.jobs.queues.read([id], 'status'))[0]?.job
  if (job === undefined) return noSuchJob()
  const refused = mayNot(request.caller, right, job.queue)
  if (refused?.code === 'no_such_queue') return noSuchJob()
  return refused ?? job
}

export async function keys(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'browse', name)
  if (isFailure(queue)) return queue
  const { query } = request
  const max = countOf(query, 'limit', LIMIT_DEFAULT, LIMIT_MAX)
  if (typeof max === 'string') return invalid(max)
  const after = query.get('after')
  const asked = { queue: name, blockedOnly: query.get('blocked') === 'true', max, ...(after === null ? {} : { after }) }
  const held = await parts.jobs.queues.keys(asked)
  const last = held.at(-1)
  return json(200, { keys: held, ...(last !== undefined && held.length === max ? { next: last.key } : {}) })
}

interface Shown {
  readonly texts: readonly string[]
  /** How many of the jobs. */
  readonly shown: number
  readonly free: (() => void) | undefined
}

/** As many as have room; at least one. */
async function withBodies(parts: ApiParts, jobs: readonly StoredJob[]): Promise<Shown | Failure> {
  let bytes = 0
  let count = 0
  for (const { requestBytes } of jobs) {
    if (count > 0 && bytes + requestBytes > BODIES_MAX) break
    bytes += requestBytes
    count++
  }
  if (!parts.budget.take(bytes)) return noRoom()
  const free = (): void => parts.budget.give(bytes)
  try {
    const shown = jobs.slice(0, count)
    const read = await parts.jobs.queues.read(
      shown.map(({ id }) => id),
      'request',
    )
    const requestOf = (i: number): JobRequest | undefined => read[i]?.request
    return { texts: shown.map((job, i) => jobJson(job, { request: requestOf(i) })), shown: count, free }
  } catch (error) {
    free()
    throw error
  }
}

function noRoom(): Failure {
  return failure('buffers_full', 'The bodies held in memory are at their limit (limits.buffered).', 1)
}

function includes(query: URLSearchParams, what: string): boolean {
  return (query.get('include') ?? '').split(',').includes(what)
}

export function countOf(query: URLSearchParams, name: string, fallback: number, max: number): number | string {
  const text = query.get(name)
  if (text === null) return fallback
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0
  return count >= 1 && count <= max ? count : `${name}: must be a whole number from 1 to ${max}.`
}
