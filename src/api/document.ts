/** A job as clients see it: the status document, its links, and the headers that every job answer carries. */
import type { Config } from '../config/config.ts'
import { ERRORS, type ErrorCode, failure, problem } from '../core/errors.ts'
import type { EpochMillis } from '../lib/units.ts'
import type { JobError, StoredJob } from '../ports/job-store.ts'
import type { Jobs } from '../jobs/jobs.ts'
import { followUpPlan } from '../core/jobs/follow-up.ts'
import { placeInBatch } from '../jobs/batch-notes.ts'
import { tokenOf } from './token.ts'

/** What the answers of the job endpoints are made from. */
export interface DocumentParts {
  readonly config: Config
  readonly jobs: Pick<Jobs, 'estimate'>
}

export interface JobLinks {
  readonly self: string
  readonly result: string
  readonly events: string
}

export function jobLinks(config: Config, job: Pick<StoredJob, 'id' | 'secret'>): JobLinks {
  const self = `${config.jobs.publicUrl ?? ''}${config.jobs.path}/jobs/${tokenOf(job)}`
  return { self, result: `${self}/result`, events: `${self}/events` }
}

/** On every answer that is about a job, a held client's ordinary answer included. */
export function jobHeaders(job: StoredJob): string[] {
  return ['Spillway-Status', job.status, 'Spillway-Job', job.id]
}

/** The short form in a 202. */
export function acceptedDocument(parts: DocumentParts, job: StoredJob): Record<string, unknown> {
  const { etaMs } = parts.jobs.estimate(job.queue, job.position)
  return {
    id: job.id,
    status: job.status,
    queue: job.queue,
    submittedAt: timestamp(job.submittedAt),
    ...present({ position: job.position, etaMs: isWaiting(job) ? etaMs : undefined }),
    links: jobLinks(parts.config, job),
  }
}

export function statusDocument(parts: DocumentParts, job: StoredJob): Record<string, unknown> {
  const { etaMs } = parts.jobs.estimate(job.queue, job.position)
  return {
    id: job.id,
    status: job.status,
    queue: job.queue,
    attempt: job.attempt,
    attempts: job.attempts,
    submittedAt: timestamp(job.submittedAt),
    ...present({
      startedAt: timestamp(job.startedAt),
      finishedAt: timestamp(job.finishedAt),
      notBefore: timestamp(job.notBefore),
      deferredUntil: timestamp(job.deferredUntil),
      blockedBy: job.blockedBy,
      answering: job.stream?.answering === true ? true : undefined,
      position: job.position,
      etaMs: isWaiting(job) || job.status === 'running' ? etaMs : undefined,
      progress: job.progress === undefined ? undefined : (JSON.parse(job.progress) as unknown),
      reference: job.reference,
      error: job.error === undefined ? undefined : errorDocument(job.error),
      ...chainMembers(parts.config, job),
    }),
    links: jobLinks(parts.config, job),
  }
}

/** Where a job stands in its batch, and in its chain. `then` stands until there is a `next`; nothing follows from a job that did not succeed. */
function chainMembers(config: Config, job: StoredJob): Record<string, unknown> {
  const { parent, next, followUp, finishedAt, status } = job
  const { then } = followUpPlan(followUp)
  const place = placeInBatch(job)
  const mayFollow = next === undefined && (finishedAt === undefined || status === 'succeeded')
  return {
    batch: place && { id: place.batch, index: place.index },
    parent: parent && { id: parent.id },
    then: then === undefined || !mayFollow ? undefined : { queue: then.queue, route: then.route },
    next:
      next === undefined ? undefined : 'id' in next ? { id: next.id, links: jobLinks(config, next) } : { error: errorDocument(next.error) },
  }
}

/** What those are told of a job who asked to be told of its end. The same whenever it is asked for. */
export function endedDocument(config: Config, job: StoredJob): Record<string, unknown> {
  return {
    id: job.id,
    ...present({ reference: job.reference }),
    status: job.status,
    queue: job.queue,
    route: job.route,
    submittedAt: timestamp(job.submittedAt),
    ...present({ finishedAt: timestamp(job.finishedAt), error: job.error === undefined ? undefined : errorDocument(job.error) }),
    links: jobLinks(config, job),
  }
}

export function errorCode(error: JobError | undefined): ErrorCode {
  return error !== undefined && Object.hasOwn(ERRORS, error.code) ? (error.code as ErrorCode) : 'internal'
}

function errorDocument(error: JobError): Record<string, unknown> {
  return problem(failure(errorCode(error), error.detail), error.status === undefined ? {} : { serverStatus: error.status })
}

function isWaiting(job: StoredJob): boolean {
  return job.status === 'queued' || job.status === 'retrying'
}

function timestamp(at: EpochMillis): string
function timestamp(at: EpochMillis | undefined): string | undefined
function timestamp(at: EpochMillis | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString()
}

/** Absent instead of null: a document holds what there is. */
function present(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
