/**
 * Holds a client until its job ends or its time is up. A job that ends in time answers as the server would have; after that the client
 * is told where to look, or that nothing was done. A client that leaves ends the wait, not the job, unless the route cancels.
 */
import { sendAccepted, sendEnded } from '../api/answer.ts'
import { type DocumentParts, jobHeaders, jobLinks } from '../api/document.ts'
import { sendFailure } from '../api/problem.ts'
import { replayHeaders } from '../api/replay.ts'
import { followAnswer, monitorLink } from '../api/streamed-result.ts'
import { failure } from '../core/errors.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { ReadableAnswer } from '../jobs/readable-answer.ts'
import type { TakenResult } from '../jobs/stored-results.ts'
import { isEnded } from '../jobs/watch.ts'
import type { Millis } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { Call } from '../net/call.ts'
import type { Clock } from '../ports/clock.ts'
import type { ReadJob, StoredJob } from '../ports/job-store.ts'

export interface HoldContext extends DocumentParts {
  readonly jobs: Jobs
  readonly budget: BufferBudget
  readonly clock: Clock
}

export interface HeldJob {
  readonly job: StoredJob
  readonly waitMs: Millis
  /** `cancel`: when the time is up, the job goes if it has not begun. */
  readonly onWait: 'accept' | 'cancel'
  /** Somebody else's wait, or an earlier one, created it: it is not this client's to cancel. */
  readonly replayed: boolean
  readonly extraHeaders: readonly string[]
}

/** Resolves when the client has been answered or is gone. */
export async function holdClient(call: Call, context: HoldContext, held: HeldJob): Promise<void> {
  if (call.log.trace !== undefined) call.log.trace.phase = 'held'
  // As long as it is held, its job is not begun where it could not end in time.
  const release = held.onWait === 'cancel' && !held.replayed ? context.jobs.hold(held.job.id, held.waitMs) : undefined
  const news = await waitForNews(call, context, held).finally(() => release?.())
  if (news !== undefined && 'head' in news) return followAnswer(call, news, context.budget, streamHeaders(context, held, news))
  if (call.gone) {
    // If the store cannot be told, it expires soon.
    if (held.onWait === 'cancel' && !held.replayed) await context.jobs.cancel(held.job.id, true).catch(() => undefined)
    return
  }
  if (news !== undefined) return answerEnded(call, context, held, news)
  if (held.onWait === 'cancel' && !held.replayed) return cancelUnbegun(call, context, held)
  return answerLater(call, context, held)
}

/** The job as it ended, or its answer while it comes; undefined: the time is up. */
async function waitForNews(call: Call, context: HoldContext, held: HeldJob): Promise<ReadJob | ReadableAnswer | undefined> {
  const until = context.clock.monotonic() + held.waitMs
  let ended = await waitHere(call, context, held, held.waitMs)
  while (ended !== undefined && !isEnded(ended.job.status) && !call.gone) {
    const answer = context.jobs.answers.open(held.job.id)
    if (answer !== undefined) return answer
    // It broke off at once.
    ended = await waitHere(call, context, held, until - context.clock.monotonic())
  }
  return ended
}

/** The server's own, as far as they are for this client, and where to go on if this connection does not last. */
function streamHeaders(context: HoldContext, { replayed, extraHeaders }: HeldJob, { head, job }: ReadableAnswer): string[] {
  return [...(replayed ? replayHeaders(head.headers) : head.headers), ...monitorLink(context, job), ...extraHeaders]
}

/** For the end of the job; for the beginning of its answer, where that is handed on while it comes. */
async function waitHere(call: Call, context: HoldContext, held: HeldJob, forMs: Millis): Promise<ReadJob | undefined> {
  const { closing } = context.jobs
  const leave = new AbortController()
  const leaveIfIdle = (): void => void endWaitAtShutdown(context, held.job.id, leave)
  call.onGone(() => leave.abort())
  closing.addEventListener('abort', leaveIfIdle, { once: true })
  if (closing.aborted) leaveIfIdle()
  if (call.gone) leave.abort()
  try {
    const options = { fresh: !held.replayed && forMs === held.waitMs, signal: leave.signal }
    const { job } = held
    return await (job.stream === undefined ? context.jobs.waitEnd(job.id, forMs, options) : context.jobs.waitAnswer(job.id, forMs, options))
  } finally {
    closing.removeEventListener('abort', leaveIfIdle)
  }
}

/** A job that runs may still end before the gateway does; one that waits will not begin here any more. */
async function endWaitAtShutdown(context: HoldContext, id: string, leave: AbortController): Promise<void> {
  const read = await context.jobs.read(id, 'status').catch(() => undefined)
  if (read?.job.status !== 'running') leave.abort()
}

async function answerEnded(call: Call, context: HoldContext, held: HeldJob, { job, answer }: ReadJob): Promise<void> {
  // Another client's wait for the same job was over before this one's: this one is told the same.
  if (job.status === 'cancelled' && context.jobs.isTakenBack(job.id)) return sendNothingDone(call, context, job, held.extraHeaders)
  const room = { budget: context.budget, wanted: () => !call.gone }
  const taken = await context.jobs
    .result(answer === undefined ? { job } : { job, answer }, room)
    .catch((): TakenResult => ({ kind: 'full' }))
  const options = { to: held.replayed ? 'replay' : 'held', extraHeaders: held.extraHeaders } as const
  if (taken.kind === 'result') sendEnded(call, taken, options)
  else if (taken.kind === 'missing') sendForgotten(call, job, held.extraHeaders)
  // It is stored, and there may be room for it in a moment.
  else if (!call.gone) sendAccepted(call, context, job, held.extraHeaders)
}

async function answerLater(call: Call, context: HoldContext, held: HeldJob): Promise<void> {
  const latest = await context.jobs.read(held.job.id, 'status').catch(() => undefined)
  if (call.gone) return
  if (latest !== undefined && isEnded(latest.job.status)) return answerEnded(call, context, held, latest)
  sendAccepted(call, context, latest?.job ?? held.job, held.extraHeaders)
}

/** One commit decides: either it had not begun and never will, or it has begun and goes on. */
async function cancelUnbegun(call: Call, context: HoldContext, held: HeldJob): Promise<void> {
  const { job } = held
  const outcome = await context.jobs.cancel(job.id, true).catch(() => undefined)
  if (call.gone) return
  if (outcome === undefined) return sendNotCancelled(call, context, held)
  const after = outcome.kind === 'done' || outcome.kind === 'unchanged' ? (outcome.job ?? job) : job
  if (outcome.kind === 'done') return sendNothingDone(call, context, after, held.extraHeaders)
  if (isEnded(after.status)) return answerLater(call, context, held)
  const extra = [...jobHeaders(after), ...held.extraHeaders, 'Location', jobLinks(context.config, after).self]
  sendFailure(call, failure('wait_ended_begun', 'It has begun and goes on; its result will be at Location.'), extra, { job: job.id })
}

/** Nobody knows whether it has begun, or will: the client must not take it for undone. */
function sendNotCancelled(call: Call, context: HoldContext, { job, extraHeaders }: HeldJob): void {
  const detail = 'The store could not cancel it when its time was up. What becomes of it stands at Location.'
  const extra = [...jobHeaders(job), ...extraHeaders, 'Location', jobLinks(context.config, job).self]
  sendFailure(call, failure('store_unavailable', detail), extra, { job: job.id })
}

/** Ended jobs go when there is no room for more of them: this one between its end and now. */
function sendForgotten(call: Call, job: StoredJob, extraHeaders: readonly string[]): void {
  const failed = failure('no_such_job', 'The job has ended, and its result is no longer kept.')
  sendFailure(call, failed, [...jobHeaders(job), ...extraHeaders], { job: job.id })
}

/** Its idempotency key is free again. */
function sendNothingDone(call: Call, context: HoldContext, job: StoredJob, extraHeaders: readonly string[]): void {
  const { retryAfterSeconds } = context.jobs.estimate(job.queue, undefined)
  const detail = 'No server took it in time. It was cancelled before it began: nothing was done, and it may be sent again.'
  sendFailure(call, failure('wait_ended', detail, retryAfterSeconds), [...jobHeaders(job), ...extraHeaders], { job: job.id })
}
