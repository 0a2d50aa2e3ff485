/** Mending: cancel, forget, run again, move, and the same for many at once; pause, resume, purge, and keys that wait for somebody. */
import { documentLimits } from '../../config/resolve-queues.ts'
import { type Failure, failure, isFailure } from '../../core/errors.ts'
import { isWrong, type JobDocument, readJobDocument, wrongText } from '../../core/jobs/job-document.ts'
import { requestOf } from '../../jobs/new-job.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { CommandOutcome, JobCommand, JobRequest, NewTask, StoredJob, TaskState } from '../../ports/job-store.ts'
import { isRedacted } from './bodies.ts'
import { readFilter } from './filter.ts'
import { jobJson, timeText } from './job-view.ts'
import { jobFor } from './look.ts'
import { type ApiParts, DOCUMENT_BYTES_MAX, mayNot, noSuchJob, noSuchQueue, queueFor } from './parts.ts'
import { otherField } from './receive.ts'
import {
  type ApiRequest,
  contentKind,
  invalid,
  json,
  jsonText,
  NO_CONTENT,
  NOBODY,
  type Outcome,
  readDocument,
  readText,
} from './request.ts'
import { jobsOf } from './destination.ts'

const PER_SECOND_MAX = 1_000_000
const TASK_KINDS = ['redrive', 'move', 'cancel', 'forget'] as const
/** What a redrive may change of the request. */
const CHANGES = ['payload', 'text', 'base64', 'contentType', 'headers', 'target', 'method'] as const

export async function pauseOrResume(request: ApiRequest, parts: ApiParts, name: string, kind: 'pause' | 'resume'): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'manage', name)
  if (isFailure(queue)) return queue
  const type = contentKind(request, ['json'])
  if (typeof type === 'object') return type
  const outcome = await parts.jobs.queues.command({ kind, queue: name })
  return outcome.kind === 'missing' ? noSuchQueue() : json(200, { name, paused: kind === 'pause' })
}

export async function cancelOrForget(request: ApiRequest, parts: ApiParts, id: string): Promise<Outcome> {
  const job = await jobFor(request, parts, id, 'manage')
  if (isFailure(job)) return job
  if (request.query.get('forget') === 'true') {
    const outcome = await parts.jobs.queues.command({ kind: 'forget', id })
    return outcome.kind === 'done' ? NO_CONTENT : notDone(outcome, 'It has not ended: cancel it first.')
  }
  return doneWith(await parts.jobs.cancel(id, false), job)
}

/** As it was, or with another request: what is not said stays. */
export async function redrive(request: ApiRequest, parts: ApiParts, id: string): Promise<Outcome> {
  const job = await jobFor(request, parts, id, 'manage')
  if (isFailure(job)) return job
  const kind = contentKind(request, ['json'])
  if (typeof kind === 'object') return kind
  const read = await readText(request, parts.config.api.body, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  read.free()
  const value = read.text === '' ? {} : jobsOf(read.text)
  if (!isMapping(value)) return invalid('The body must be an object, such as { "delay": "10s" }, or empty.')
  const command = await redriveCommand(value, job, request, parts)
  if ('code' in command) return command
  const outcome = await parts.jobs.queues.command(command)
  return outcome.kind === 'done' ? doneWith(outcome, job) : notDone(outcome, 'Only dead letters run again.')
}

type RedriveCommand = Extract<JobCommand, { kind: 'redrive' }>

async function redriveCommand(
  value: Readonly<Record<string, unknown>>,
  job: StoredJob,
  request: ApiRequest,
  parts: ApiParts,
): Promise<RedriveCommand | Failure> {
  const { queue, delay, ...changes } = value
  const other = otherField(changes, [...CHANGES, 'queue', 'delay'])
  if (other !== undefined) return invalid(other)
  const to = queue === undefined ? undefined : target(request, parts, queue)
  if (typeof to === 'object') return to
  const isChange = Object.keys(changes).length > 0
  const stored = isChange ? (await parts.jobs.queues.read([job.id], 'request'))[0]?.request : undefined
  if (isChange && stored === undefined) return failure('wrong_state', 'Its request is no longer kept.')
  const given: Record<string, unknown> = { ...changes, ...(delay === undefined ? {} : { delay }) }
  const { headers } = changes as { readonly headers?: unknown }
  if (isMapping(headers) && stored !== undefined) given['headers'] = withCredentials(headers, stored)
  const document = readJobDocument(given, documentLimits(parts.config))
  if (isWrong(document)) return invalid(`${wrongText('', document)}.`)
  const changed = stored === undefined ? undefined : changedRequest(stored, given, document, parts)
  if (typeof changed === 'string') return invalid(`${changed}.`)
  const { delayMs } = document
  return {
    kind: 'redrive',
    id: job.id,
    ...(changed === undefined ? {} : { request: changed }),
    ...(to === undefined ? {} : { queue: to }),
    ...(delayMs === undefined ? {} : { delayMs }),
  }
}

/** Who looked at the headers saw `[redacted]` for these; given back, it means what is stored. */
function withCredentials(headers: Readonly<Record<string, unknown>>, stored: JobRequest): Record<string, unknown> {
  const kept = (name: string): string | undefined => {
    for (let i = 0; i < stored.headers.length; i += 2)
      if ((stored.headers[i] as string).toLowerCase() === name.toLowerCase()) return stored.headers[i + 1]
    return undefined
  }
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, isRedacted(value) ? (kept(name) ?? value) : value]))
}

function changedRequest(
  stored: JobRequest,
  given: Readonly<Record<string, unknown>>,
  document: JobDocument,
  parts: ApiParts,
): JobRequest | string {
  const request = requestOf(document, parts.config.limits.jobBody)
  if ('wrong' in request) return wrongText('', request)
  const typeOf = (headers: readonly string[]): readonly string[] => {
    const at = headers.findIndex((field, i) => i % 2 === 0 && field.toLowerCase() === 'content-type')
    return at < 0 ? [] : headers.slice(at, at + 2)
  }
  const others = (headers: readonly string[]): readonly string[] =>
    headers.filter((_, i) => (headers[i - (i % 2)] as string).toLowerCase() !== 'content-type')
  const type = typeOf(request.headers)
  return {
    method: given['method'] === undefined ? stored.method : request.method,
    target: given['target'] === undefined ? stored.target : request.target,
    headers: [
      ...others(given['headers'] === undefined ? stored.headers : request.headers),
      ...(type.length > 0 ? type : typeOf(stored.headers)),
    ],
    body: document.bodyKind === 'none' ? stored.body : request.body,
  }
}

export async function move(request: ApiRequest, parts: ApiParts, id: string): Promise<Outcome> {
  const job = await jobFor(request, parts, id, 'manage')
  if (isFailure(job)) return job
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const { value } = read
  if (!isMapping(value) || typeof value['queue'] !== 'string')
    return invalid('The body must be an object with the name of a queue: { "queue": "…" }.')
  const to = target(request, parts, value['queue'])
  if (typeof to === 'object') return to
  const outcome = await parts.jobs.queues.command({ kind: 'move', id, queue: to })
  return outcome.kind === 'done' ? doneWith(outcome, job) : notDone(outcome, 'Only jobs that wait, and dead letters, can be moved.')
}

/** A queue to which jobs may go. */
function target(request: ApiRequest, parts: ApiParts, name: unknown): string | Failure {
  if (typeof name !== 'string') return invalid('queue: must be the name of a queue.')
  const queue = queueFor(parts, request.caller, 'manage', name)
  if (isFailure(queue)) return queue
  return queue.origin === 'none' ? noSuchQueue() : name
}

export async function beginTask(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'manage', name)
  if (isFailure(queue)) return queue
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const { value } = read
  if (!isMapping(value)) return invalid('The body must be an object, such as { "kind": "redrive", "filter": { "dead": true } }.')
  const other = otherField(value, ['kind', 'filter', 'perSecond', 'to'])
  if (other !== undefined) return invalid(other)
  const { kind, filter = {}, perSecond, to } = value
  if (!TASK_KINDS.some((each) => each === kind)) return invalid(`kind: must be ${TASK_KINDS.join(', ')}.`)
  const jobs = readFilter(filter)
  if (typeof jobs === 'string') return invalid(`${jobs}.`)
  if (perSecond !== undefined && (typeof perSecond !== 'number' || !(perSecond > 0 && perSecond <= PER_SECOND_MAX))) {
    return invalid(`perSecond: must be a number above 0, at most ${PER_SECOND_MAX}.`)
  }
  const destination = to === undefined ? undefined : target(request, parts, to)
  if (typeof destination === 'object') return destination
  if (kind === 'move' && destination === undefined) return invalid('to: is missing; a move needs a queue to go to.')
  if (destination !== undefined && kind !== 'move' && kind !== 'redrive') return invalid(`to: has no meaning for ${String(kind)}.`)
  const task: NewTask = {
    kind: kind as NewTask['kind'],
    filter: { ...jobs, queue: name },
    ...(destination === undefined ? {} : { to: destination }),
    ...(perSecond === undefined ? {} : { perSecond }),
  }
  const begun = await begin(parts, task)
  return typeof begun === 'number' ? json(202, await taskDocument(parts, begun)) : begun
}

async function begin(parts: ApiParts, task: NewTask): Promise<number | Failure> {
  const outcome = await parts.jobs.queues.command({ kind: 'begin', task })
  return outcome.kind === 'done' && outcome.task !== undefined ? outcome.task : notDone(outcome, 'The store did not begin it.')
}

async function taskDocument(parts: ApiParts, id: number): Promise<Record<string, unknown>> {
  const task = (await parts.jobs.queues.tasks()).find((each) => each.id === id)
  return task === undefined ? { id } : taskView(task)
}

export async function tasks(request: ApiRequest, parts: ApiParts): Promise<Outcome> {
  const all = await parts.jobs.queues.tasks()
  return json(200, { tasks: all.filter(({ filter }) => request.caller.may('browse', filter.queue)).map(taskView) })
}

export async function stopTask(request: ApiRequest, parts: ApiParts, number: string): Promise<Outcome> {
  const id = /^\d{1,15}$/.test(number) ? Number(number) : -1
  const task = (await parts.jobs.queues.tasks()).find((each) => each.id === id)
  const missing = failure('no_such_task', 'There is no such task, or it ended long ago.')
  if (task === undefined) return missing
  const refused = mayNot(request.caller, 'manage', task.filter.queue)
  if (refused !== undefined) return refused.code === 'no_such_queue' ? missing : refused
  await parts.jobs.queues.command({ kind: 'stop', task: id })
  return NO_CONTENT
}

/** The queue's name, said again, so that nobody empties the wrong one. */
export async function purge(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'manage', name)
  if (isFailure(queue)) return queue
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  if (!isMapping(read.value) || read.value['confirm'] !== name)
    return invalid(`confirm: must be the name of the queue: { "confirm": "${name}" }.`)
  const outcome = await parts.jobs.queues.purge(name)
  if (outcome.kind !== 'done' || outcome.task === undefined) return notDone(outcome, 'The store did not begin it.')
  return json(202, await taskDocument(parts, outcome.task))
}

export async function releaseKey(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'manage', name)
  if (isFailure(queue)) return queue
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const key = isMapping(read.value) ? read.value['key'] : undefined
  if (typeof key !== 'string') return invalid('key: must be a text.')
  const outcome = await parts.jobs.queues.command({ kind: 'release', queue: name, key })
  return outcome.kind === 'done' ? json(200, { key, released: true }) : notDone(outcome, 'No failed job blocks this key.')
}

function taskView(task: TaskState): Record<string, unknown> {
  const { filter, startedAt, endedAt, ...rest } = task
  const { queue, since, until, statuses, ...others } = filter
  return {
    ...rest,
    queue,
    filter: { ...others, status: statuses, since: timeText(since), until: timeText(until) },
    startedAt: timeText(startedAt),
    endedAt: timeText(endedAt),
  }
}

/** The job as it is now. */
function doneWith(outcome: CommandOutcome, before: StoredJob): Outcome {
  if (outcome.kind === 'done' || outcome.kind === 'unchanged') return jsonText(jobJson(outcome.job ?? before))
  return notDone(outcome, '')
}

function notDone(outcome: CommandOutcome, detail: string): Failure {
  switch (outcome.kind) {
    case 'missing':
      return noSuchJob()
    case 'refused':
      return failure(
        outcome.limit === 'jobs' || outcome.limit === 'bytes' || outcome.limit === 'age' ? 'queue_full' : 'wrong_state',
        outcome.detail,
      )
    default:
      return failure('wrong_state', detail)
  }
}
