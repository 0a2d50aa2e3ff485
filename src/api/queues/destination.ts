/**
 * Where what is sent goes: to a queue, or in copies to those of a topic. Turns documents into jobs, hands them to the store in one call, and says
 * of each what became of it.
 */
import type { QueueConfig } from '../../config/config.ts'
import { isWrong, type JobDocument, readJobDocument, type Wrong, wrongText } from '../../core/jobs/job-document.ts'
import { type Failure, failure } from '../../core/errors.ts'
import { newJobOf, requestOf, type Sender, thenCompleter } from '../../jobs/new-job.ts'
import { matching, type Topic } from '../../jobs/topics.ts'
import { mayLoseDigits, parseExactly } from '../../lib/exact-json.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { NewJob, Submitted } from '../../ports/job-store.ts'
import { refusal } from '../refused.ts'
import { documentLimits } from '../../config/resolve-queues.ts'
import { type ApiParts, sendable } from './parts.ts'
import { type ApiReply, JSON_HEADERS, type Outcome } from './request.ts'
import type { Caller } from './rights.ts'

/** Where jobs go, and what is said of each: the same for a queue and for a topic. */
export interface Destination {
  /** The jobs that become of one document: one, or a copy for each subscription. */
  jobs(document: JobDocument): readonly NewJob[] | Wrong
  /** JSON of the result of one document, from those of its jobs. */
  result(jobs: readonly NewJob[], submitted: readonly Submitted[]): string
  /** The answer to one document that was sent alone. */
  single(jobs: readonly NewJob[], submitted: readonly Submitted[]): Outcome
}

/** A document with jobs or results in it. Undefined: it is no JSON. Texts and bytes need no second look at their digits. */
export function jobsOf(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text)
    return hasPayload(value) && mayLoseDigits(text) ? parseExactly(text) : value
  } catch {
    return undefined
  }
}

function hasPayload(value: unknown): boolean {
  if (!isMapping(value)) return false
  if ('payload' in value || holdsPayload(value['job'])) return true
  const { jobs, settlements } = value
  return listOf(jobs).some(holdsPayload) || listOf(settlements).some((one) => isMapping(one) && holdsPayload(one['result']))
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function holdsPayload(job: unknown): boolean {
  return typeof job === 'object' && job !== null && 'payload' in job
}

/** In one call to the store. `called`: what a document is called in messages. */
export async function resultsOf(
  documents: readonly unknown[],
  parts: ApiParts,
  destination: Destination,
  called: (i: number) => string = (i) => `jobs[${i}]`,
): Promise<readonly string[]> {
  const limits = documentLimits(parts.config)
  const jobs: NewJob[] = []
  const perDocument: (readonly NewJob[] | Wrong)[] = []
  for (const value of documents) {
    const document = readJobDocument(value, limits)
    const made = isWrong(document) ? document : destination.jobs(document)
    perDocument.push(made)
    if (!('wrong' in made)) for (const job of made) jobs.push(job)
  }
  const submitted = await parts.jobs.queues.send(jobs)
  let next = 0
  return perDocument.map((made, i) => {
    if ('wrong' in made) return invalidResult(wrongText(called(i), made))
    const mine = submitted.slice(next, next + made.length)
    next += made.length
    return destination.result(made, mine)
  })
}

export function invalidResult(detail: string): string {
  return `{"status":"invalid","detail":${JSON.stringify(detail)}}`
}

/** Ids and secrets have no character that JSON would escape. */
function acceptedJson(submitted: Submitted & { kind: 'created' | 'duplicate' }): string {
  const { kind, job } = submitted
  return `{"status":"${kind}","id":"${job.id}","token":"${job.id}.${job.secret}"}`
}

export function senderOf(parts: ApiParts, caller: Caller): Omit<Sender, 'route'> {
  const { limits, routes } = parts.config
  return { scope: caller.name, bodyBytesMax: limits.jobBody, completeThen: thenCompleter(routes, () => sendable(parts, caller)) }
}

export function queueDestination(parts: ApiParts, queue: QueueConfig, caller: Caller): Destination {
  const sender: Sender = { route: 'api', ...senderOf(parts, caller) }
  let retryAfter: number | undefined
  const told = (refused: Submitted & { kind: 'refused' }): number => {
    retryAfter ??= refusal(parts, queue, refused).retryAfterSeconds ?? 1
    return retryAfter
  }
  return {
    jobs: (document) => {
      const job = newJobOf(document, queue, sender)
      return 'wrong' in job ? job : [job]
    },
    result: (_, [submitted]) => {
      switch (submitted?.kind) {
        case 'created':
        case 'duplicate':
          return acceptedJson(submitted)
        case 'refused':
          return refusedJson(submitted, told(submitted))
        default:
          return CONFLICT_RESULT
      }
    },
    single: (_, [submitted]) => {
      switch (submitted?.kind) {
        case 'created':
          return { status: 201, headers: JSON_HEADERS, body: acceptedJson(submitted) }
        case 'duplicate':
          return { status: 200, headers: JSON_HEADERS, body: acceptedJson(submitted) }
        case 'refused':
          return refusal(parts, queue, submitted)
        default:
          return conflict()
      }
    },
  }
}

const CONFLICT_DETAIL = 'The idempotency key belongs to another request.'
const CONFLICT_RESULT = `{"status":"conflict","detail":"${CONFLICT_DETAIL}"}`

function conflict(): Failure {
  return failure('idempotency_conflict', CONFLICT_DETAIL)
}

function refusedJson({ limit, detail }: Submitted & { kind: 'refused' }, retryAfter: number): string {
  return `{"status":"refused","limit":${JSON.stringify(limit)},"detail":${JSON.stringify(detail)},"retryAfter":${retryAfter}}`
}

/** Every matching subscription gets a copy, all of them in one call to the store and so in one commit. */
export function topicDestination(parts: ApiParts, topic: Topic, caller: Caller): Destination {
  const { queues } = parts.jobs
  const common = senderOf(parts, caller)
  const sender: Sender = { ...common, route: `topic ${topic.name}`, scope: `${common.scope}\ntopic ${topic.name}` }
  const subscriptionsOf = new WeakMap<readonly NewJob[], readonly string[]>()
  const destinations = new Map<string, Destination>()
  const destinationOf = (queue: string): Destination => {
    let destination = destinations.get(queue)
    if (destination === undefined) {
      destination = queueDestination(parts, (queues.find(queue) as { readonly config: QueueConfig }).config, caller)
      destinations.set(queue, destination)
    }
    return destination
  }
  const published = (jobs: readonly NewJob[], submitted: readonly Submitted[]): string => {
    const names = subscriptionsOf.get(jobs) ?? []
    const copies = jobs.map((job, i) => {
      const result = destinationOf(job.queue).result([job], [submitted[i] as Submitted])
      return `{"subscription":${JSON.stringify(names[i])},${result.slice(1)}`
    })
    return `{"status":"published","copies":[${copies.join(',')}]}`
  }
  return {
    jobs: (document) => {
      const request = requestOf(document, sender.bodyBytesMax)
      if ('wrong' in request) return request
      const jobs: NewJob[] = []
      const names: string[] = []
      for (const { name, queue } of matching(topic, document, request)) {
        const config = queues.find(queue)?.config
        if (config === undefined) continue
        const job = newJobOf(document, config, { ...sender, scope: `${sender.scope}\n${name}` })
        if ('wrong' in job) return job
        jobs.push({ ...job, request })
        names.push(name)
      }
      subscriptionsOf.set(jobs, names)
      return jobs
    },
    result: published,
    single: (jobs, submitted): ApiReply => ({ status: 201, headers: JSON_HEADERS, body: published(jobs, submitted) }),
  }
}
