/**
 * One hand-out of a job to a server, from the lease to the settlement: what the server is sent, what its answer is taken for,
 * and that the store hears of it. The server's slot is given back by whoever reserved it, when `ended` resolves.
 */
import type { QueueConfig, SigningKey } from '../config/config.ts'
import type { ErrorCode } from '../core/errors.ts'
import { isServerFailure, isServerFault } from '../core/health/outliers.ts'
import { forwardResponseHeaders } from '../core/headers/forward.ts'
import { parseTraceparent } from '../core/headers/trace-context.ts'
import {
  type AttemptEnd,
  decideSettlement,
  deferralOf,
  refuseDeferral,
  type SettleFacts,
  type Verdict,
  type VerdictError,
} from '../core/jobs/settlement.ts'
import { headerValue } from '../http1/message.ts'
import type { Bytes, EpochMillis, Millis } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { Server } from '../pools/server.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Random } from '../ports/clock.ts'
import type { JobAnswer, JobStore, Lease, LeaseRef, Settlement, SettleOutcome, StoredJob } from '../ports/job-store.ts'
import { signatureFor } from './signature.ts'
import { METRICS } from '../telemetry/names.ts'
import type { Counter, Metrics, Telemetry } from '../telemetry/telemetry.ts'
import type { Attempt, AttemptOutcome, OutgoingRequest, StreamedAttempt, Upstream } from '../upstream/upstream.ts'
import type { LiveAnswers } from './live-answers.ts'

/** A store that cannot be reached for a moment must not cost a finished attempt. */
const SETTLE_RETRIES_MS: readonly Millis[] = [200, 1000, 5000]
const BROKEN: ReadonlySet<ErrorCode> = new Set([
  ...(['connect_failed', 'connect_timeout', 'connection_reset', 'tls_certificate', 'tls_alert', 'tls_failed'] as const),
])

export interface AttemptContext {
  readonly store: JobStore
  readonly upstream: Upstream
  readonly bus: Bus
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  /** Where a server reports progress: absolute, of this attempt only. */
  readonly reportUrl: (lease: Lease) => string
  readonly resultBytesMax: Bytes
  readonly streamedBytesMax: Bytes
  /** Those that are handed on while they come. */
  readonly answers: LiveAnswers
  /** What attempts are signed with, now. */
  readonly signingKeys: () => readonly SigningKey[]
  /** In which header requests have their ids. */
  readonly requestIdHeader: () => string | undefined
}

export interface AttemptTarget {
  readonly pool: Pool
  readonly server: Server
  readonly queue: QueueConfig
  readonly outcomes: Outcomes
}

/** How the hand-outs of a queue ended, counted. */
export type Outcomes = Readonly<Record<Verdict['kind'] | 'stale', Counter>>

export function countOutcomes(metrics: Metrics, queue: string): Outcomes {
  const counter = (outcome: string): Counter =>
    metrics.counter('spillway_attempts_total', METRICS.spillway_attempts_total.help, { queue, outcome })
  return {
    succeed: counter('succeeded'),
    retry: counter('retried'),
    handBack: counter('handed-back'),
    fail: counter('failed'),
    defer: counter('deferred'),
    stale: counter('stale'),
  }
}

export interface AttemptResult {
  /** As it stands now; undefined: the lease was stale, the job was cancelled, or the store could not be told. */
  readonly job: StoredJob | undefined
  /** When the job is to be handed out again, if it is; or when its deferral is over. */
  readonly afterMs: Millis
}

export interface RunningAttempt {
  readonly lease: Lease
  /** As `ended`, to be asked. */
  readonly over: boolean
  /** The server has said for how long it keeps the lease: that is on its way to the store. */
  readonly deferring: boolean
  /** The server has answered, failed, or been left: its slot is free. One that defers the end keeps it until that is durable. */
  readonly ended: Promise<{ readonly broke: boolean }>
  readonly settled: Promise<AttemptResult>
  /** Breaks it off and settles it as failed with this code. */
  abort(code: ErrorCode, detail: string): void
  /** It may take so long from now on. */
  extend(forMs: Millis): void
  /** Breaks it off because its lease is gone: nothing is settled. */
  discard(): void
}

export function startAttempt(context: AttemptContext, target: AttemptTarget, lease: Lease): RunningAttempt {
  const begunAt = context.clock.monotonic()
  const attempt = send(context, target, lease)
  let discarded = false
  let over = false
  let deferring = false
  const ended = attempt.outcome.then(async (outcome) => {
    over = true
    judge(target, outcome)
    deferring = isDeferral(outcome)
    if (deferring) await settled
    return { broke: outcome.kind === 'failed' && BROKEN.has(outcome.code) }
  })
  const settled = attempt.outcome.then((outcome) => {
    if (discarded) {
      // Also one that came to its end just before.
      void context.answers.settled(lease.ref, 'no')
      return { job: undefined, afterMs: 0 }
    }
    return settleAttempt(context, target, lease, { outcome, tookMs: context.clock.monotonic() - begunAt })
  })
  return {
    lease,
    get over() {
      return over
    },
    get deferring() {
      return deferring
    },
    ended,
    settled,
    abort: (code, detail) => attempt.abort(code, detail),
    extend: (forMs) => attempt.extend(forMs),
    discard: () => {
      discarded = true
      attempt.abort('job_cancelled', 'The lease was gone while it ran.')
    },
  }
}

/** What its end says of the server. One that says 429 or 503 rests, and is no worse for that. */
function judge({ pool, server }: AttemptTarget, outcome: AttemptOutcome): void {
  const meter = pool.meterOf(server)
  if (outcome.kind === 'failed') {
    meter.unanswered(outcome.code)
    if (isServerFailure(outcome.code)) pool.observe(server, false)
    return
  }
  const { status } = outcome.answer
  meter.answered(status)
  if (status !== 429 && status !== 503) pool.observe(server, !isServerFault(status))
}

function send(context: AttemptContext, target: AttemptTarget, lease: Lease): Attempt {
  const { timeoutMs } = target.queue
  const request = serverRequest(context, lease, context.clock.now() + timeoutMs, target.server.name)
  const streamed = lease.job.stream === undefined ? undefined : streamedAttempt(context, target, lease)
  return context.upstream.attempt(target.pool, target.server, request, { timeoutMs, resultBytesMax: context.resultBytesMax, streamed })
}

/** Only what would be the job's result is handed on: of an answer that leads to another attempt nobody gets a byte. */
function streamedAttempt(context: AttemptContext, target: AttemptTarget, lease: Lease): StreamedAttempt {
  return {
    bytesMax: context.streamedBytesMax,
    wants({ status, headers }) {
      const isResult =
        decideSettlement({ kind: 'answer', status, headers }, settleFacts(context, target.queue, lease.job)).kind === 'succeed'
      return isResult && status < 300
    },
    take: (head, giver) => context.answers.begin(lease.ref, head, giver),
  }
}

/** The stored request, plus what tells the server that it is a job. */
function serverRequest(context: AttemptContext, lease: Lease, deadlineAt: EpochMillis, host: string): OutgoingRequest {
  const { job, request, ref } = lease
  const submittedAt = new Date(job.submittedAt).toISOString()
  const headers = [
    ...request.headers,
    'Spillway-Job',
    job.id,
    'Spillway-Attempt',
    String(job.attempt),
    'Spillway-Fence',
    String(ref.fence),
    'Spillway-Deadline',
    new Date(deadlineAt).toISOString(),
    'Spillway-Submitted-At',
    submittedAt,
    'Spillway-Report',
    context.reportUrl(lease),
  ]
  const keys = context.signingKeys()
  if (keys.length > 0) headers.push('Spillway-Signature', signatureFor({ id: job.id, submittedAt, request }, keys))
  if (job.parent !== undefined) headers.push('Spillway-Parent', job.parent.id)
  if (headerValue(request.headers, 'idempotency-key') === undefined) headers.push('Idempotency-Key', job.id)
  // A job of the queue API need not name one, but HTTP/1.1 must.
  if (headerValue(request.headers, 'host') === undefined) headers.push('Host', host)
  return { method: request.method, target: request.target, headers, body: request.body }
}

interface Finished {
  readonly outcome: AttemptOutcome
  readonly tookMs: Millis
}

async function settleAttempt(context: AttemptContext, target: AttemptTarget, lease: Lease, finished: Finished): Promise<AttemptResult> {
  const { outcome } = finished
  const facts = settleFacts(context, target.queue, lease.job)
  const answer = outcome.kind === 'answer' && !isDeferral(outcome) ? storedAnswer(outcome.answer) : undefined
  const settle = (verdict: Verdict): Promise<Settled> => {
    // First of all: once the store has it back, it could be handed out to the same server.
    if (verdict.kind === 'handBack' && verdict.pauseMs !== undefined) target.pool.pause(target.server, verdict.pauseMs)
    return settleDurably(context, settlementOf(verdict, lease.ref, { queue: target.queue, answer }), (settlements) =>
      context.store.settle(settlements),
    )
  }
  let verdict = decideSettlement(attemptEnd(outcome), facts)
  let { settled, certain } = await settle(verdict)
  if (settled?.kind === 'full') {
    verdict = refuseDeferral(`As many jobs of ${target.queue.name} are deferred as may be (defer.jobs: ${target.queue.defer.jobs}).`, facts)
    ;({ settled, certain } = await settle(verdict))
  }
  const after = settled?.kind === 'settled' ? settled.job : undefined
  const counts = after?.status === 'succeeded' ? 'yes' : after !== undefined || certain ? 'no' : 'unknown'
  void context.answers.settled(lease.ref, counts)
  report(context, target, lease, { verdict, finished, after })
  if (after !== undefined) context.bus.publish({ kind: 'job', job: after, ...(answer !== undefined && after.hasAnswer ? { answer } : {}) })
  return { job: after, afterMs: verdict.kind === 'defer' ? verdict.forMs : 'afterMs' in verdict ? verdict.afterMs : 0 }
}

/** What the settle table has to know of a hand-out that ends now. */
export function settleFacts({ clock, random }: Pick<AttemptContext, 'clock' | 'random'>, queue: QueueConfig, job: StoredJob): SettleFacts {
  return {
    // `attempt` is the number of this one, and `handOuts` counts it: what is over were hand-outs without an attempt.
    attempt: Math.max(job.attempt, 1),
    handBacks: Math.max(job.handOuts - job.attempt, 0),
    sendOnce: job.sendOnce,
    onPartial: job.stream?.onPartial,
    backoff: queue.backoff,
    deadLetter: queue.deadLetter,
    onUnauthorized: queue.onUnauthorized,
    deferMaxMs: queue.defer.maxMs,
    now: clock.now(),
    unit: random.unit(),
  }
}

function isDeferral(outcome: AttemptOutcome): boolean {
  return outcome.kind === 'answer' && deferralOf(outcome.answer.status, outcome.answer.headers) !== undefined
}

function attemptEnd(outcome: AttemptOutcome): AttemptEnd {
  if (outcome.kind === 'failed') return outcome
  return { kind: 'answer', status: outcome.answer.status, headers: outcome.answer.headers }
}

/** Control headers have been read; what clients get holds none of ours. */
function storedAnswer(answer: JobAnswer): JobAnswer {
  return { ...answer, headers: forwardResponseHeaders(answer.headers) }
}

interface SettledWith {
  readonly queue: QueueConfig
  readonly answer: JobAnswer | undefined
}

export function settlementOf(verdict: Verdict, lease: LeaseRef, { queue, answer }: SettledWith): Settlement {
  const withAnswer = answer === undefined ? {} : { answer }
  switch (verdict.kind) {
    case 'succeed':
      return { kind: 'succeed', lease, answer: answer as JobAnswer }
    case 'defer':
      return { kind: 'defer', lease, forMs: verdict.forMs, retryMs: verdict.retryMs, jobsMax: queue.defer.jobs }
    case 'retry':
      return { kind: 'retry', lease, afterMs: verdict.afterMs, error: verdict.error, ...withAnswer }
    case 'handBack':
      return { kind: 'handBack', lease, afterMs: verdict.afterMs, error: verdict.error, ...withAnswer }
    case 'fail':
      return { ...verdict, lease, ...withAnswer }
  }
}

interface Settled {
  /** Undefined: the store failed again and again; the lease will lapse. */
  readonly settled: SettleOutcome | undefined
  /** False: the store may have done what it said it could not. */
  readonly certain: boolean
}

/** Settling twice is harmless: the second is stale. */
export async function settleDurably<S extends Settlement>(
  context: Pick<AttemptContext, 'clock' | 'telemetry'>,
  settlement: S,
  settle: (settlements: readonly S[]) => Promise<readonly SettleOutcome[]>,
): Promise<Settled> {
  for (let failures = 0; ; failures++) {
    try {
      return { settled: (await settle([settlement]))[0], certain: failures === 0 }
    } catch (error) {
      const delayMs = SETTLE_RETRIES_MS[failures]
      if (delayMs === undefined) {
        context.telemetry.event({ type: 'warning', message: `job ${settlement.lease.id} could not be settled: ${String(error)}` })
        return { settled: undefined, certain: false }
      }
      await new Promise<void>((resolve) => context.clock.after(delayMs, resolve))
    }
  }
}

interface Result {
  readonly verdict: Verdict
  readonly finished: Finished
  readonly after: StoredJob | undefined
}

/** Tells people and machines; decides nothing. */
function report(context: AttemptContext, target: AttemptTarget, lease: Lease, result: Result): void {
  const { telemetry } = context
  const { verdict, after, finished } = result
  const error = 'error' in verdict ? verdict.error : undefined
  const queue = target.queue.name
  target.outcomes[after === undefined ? 'stale' : verdict.kind].inc()
  attemptLine(context, target, lease, result)
  const broke = finished.outcome.kind === 'failed' && finished.outcome.partial === true
  if (broke) telemetry.metrics.counter('spillway_broken_answers_total', METRICS.spillway_broken_answers_total.help, { queue }).inc()
  if (after === undefined) {
    telemetry.event({ type: 'warning', message: `job ${lease.ref.id}: the end of a hand-out came too late and changed nothing` })
    return
  }
  if (verdict.kind === 'defer') {
    telemetry.event({ type: 'job-deferred', job: after.id, queue, server: target.server.name, forMs: verdict.forMs })
  }
  const again = after.status === 'retrying' || after.status === 'queued'
  if (error !== undefined && error.code !== 'shutting_down' && (again || after.dead !== undefined)) {
    const event = { type: 'attempt-failed', job: after.id, queue, server: target.server.name, attempt: lease.job.attempt } as const
    const retry = again && 'afterMs' in verdict ? { retryInMs: verdict.afterMs } : {}
    telemetry.event({ ...event, reason: reasonOf(error, broke), ...retry })
  }
  if (after.dead !== undefined) {
    telemetry.event({ type: 'job-dead', job: after.id, queue, reason: after.dead, detail: after.error?.detail ?? '' })
  }
}

function reasonOf({ code, status }: VerdictError, broke: boolean): string {
  const reason = status === undefined ? code : `${code} ${status}`
  return broke ? `${reason} in the middle of its answer` : reason
}

function attemptLine(context: AttemptContext, target: AttemptTarget, lease: Lease, result: Result): void {
  if (!context.telemetry.accessLog) return
  const { verdict, finished } = result
  const { outcome } = finished
  context.telemetry.attempt({
    at: context.clock.now(),
    pool: target.pool.name,
    server: target.server.name,
    route: lease.job.route,
    job: lease.ref.id,
    attempt: lease.job.attempt,
    outcome: 'error' in verdict ? verdict.error.code : verdict.kind === 'defer' ? 'deferred' : 'succeeded',
    ...(outcome.kind === 'answer' ? { status: outcome.answer.status } : {}),
    tookMs: finished.tookMs,
    ...marksOf(lease, context.requestIdHeader()),
  })
}

/** What its submission was called, as the server is told. */
function marksOf(
  { request: { headers } }: Lease,
  header: string | undefined,
): { requestId: string | undefined; traceId: string | undefined } {
  const traceparent = headerValue(headers, 'traceparent')
  return {
    requestId: header === undefined ? undefined : headerValue(headers, header),
    traceId: traceparent === undefined ? undefined : parseTraceparent(traceparent)?.traceId,
  }
}
