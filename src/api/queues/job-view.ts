/** A job as those see it who look into queues: everything that is known of it, but for tokens, secrets and credentials. */
import { ERRORS, failure, problem } from '../../core/errors.ts'
import type { EpochMillis } from '../../lib/units.ts'
import { followUpPlan } from '../../core/jobs/follow-up.ts'
import type { AttemptRecord, JobAnswer, JobError, JobRequest, StoredJob } from '../../ports/job-store.ts'
import { placeInBatch } from '../../jobs/batch-notes.ts'
import { errorCode } from '../document.ts'
import { requestJson, resultJson } from './bodies.ts'

export interface JobExtras {
  readonly request?: JobRequest | undefined
  readonly answer?: JobAnswer | undefined
  readonly history?: readonly AttemptRecord[] | undefined
}

/** JSON text: bodies that are JSON go in as they are. */
export function jobJson(job: StoredJob, extras: JobExtras = {}): string {
  let text = JSON.stringify(jobView(job)).slice(0, -1)
  if (extras.request !== undefined) text += `,"request":${requestJson(extras.request, true)}`
  if (extras.answer !== undefined) text += `,"result":${resultJson(extras.answer, true)}`
  if (extras.history !== undefined) text += `,"history":${JSON.stringify(extras.history.map(attemptView))}`
  return `${text}}`
}

/** What is undefined does not show. */
function jobView(job: StoredJob): Record<string, unknown> {
  return {
    id: job.id,
    queue: job.queue,
    status: job.status,
    key: job.key,
    tenant: job.tenant,
    priority: job.priority,
    reference: job.reference,
    attempt: job.attempt,
    attempts: job.attempts,
    handOuts: job.handOuts,
    redrives: job.redrives === 0 ? undefined : job.redrives,
    submittedAt: timeText(job.submittedAt),
    notBefore: timeText(job.notBefore),
    deferredUntil: timeText(job.deferredUntil),
    expiresAt: timeText(job.expiresAt),
    deadlineAt: timeText(job.deadlineAt),
    startedAt: timeText(job.startedAt),
    finishedAt: timeText(job.finishedAt),
    blockedBy: job.blockedBy,
    position: job.position,
    server: job.server,
    progress: job.progress === undefined ? undefined : (JSON.parse(job.progress) as unknown),
    error: errorView(job),
    dead: job.dead,
    blocksKey: job.blocksKey ? true : undefined,
    method: job.method,
    route: job.route,
    ...chainView(job),
    requestBytes: job.requestBytes,
    resultBytes: job.hasAnswer ? job.resultBytes : undefined,
  }
}

/** Its place in a chain, and in a batch. */
function chainView(job: StoredJob): Record<string, unknown> {
  const { parent, next, followUp } = job
  const { then } = followUpPlan(followUp)
  const place = placeInBatch(job)
  return {
    parent: parent?.id,
    then: next === undefined && then !== undefined ? { queue: then.queue, route: then.route } : undefined,
    next: next === undefined ? undefined : 'id' in next ? { id: next.id } : { error: errorView(next) },
    batch: place && { id: place.batch, index: place.index },
  }
}

function errorView({ error }: { readonly error?: JobError }): Record<string, unknown> | undefined {
  if (error === undefined) return undefined
  const view = problem(failure(errorCode(error), error.detail), error.status === undefined ? {} : { serverStatus: error.status })
  // A code that this version does not know is told all the same.
  return Object.hasOwn(ERRORS, error.code) ? view : { ...view, code: error.code }
}

function attemptView(attempt: AttemptRecord): Record<string, unknown> {
  return { ...attempt, startedAt: timeText(attempt.startedAt), endedAt: timeText(attempt.endedAt) }
}

export function timeText(at: EpochMillis | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString()
}
