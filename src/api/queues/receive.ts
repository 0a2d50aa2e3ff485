/**
 * Receiving and what follows: settle, extend, progress. Written for batches: one reading of the body, one call to the store, one text as the
 * answer. Bodies of jobs count in the gateway's budget from their lease until they are written; what does not fit is handed back uncounted.
 */
import type { QueueConfig } from '../../config/config.ts'
import { type Failure, failure, isFailure } from '../../core/errors.ts'
import { isCount, readDuration } from '../../core/jobs/job-document.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { EpochMillis, Millis } from '../../lib/units.ts'
import type { Ending, Lease, LeaseOutcome, LeaseRef, SettleOutcome } from '../../ports/job-store.ts'
import { compactJson, PROGRESS_BYTES_MAX, PROGRESS_DEPTH_MAX } from '../progress.ts'
import { messageMembers } from './bodies.ts'
import { type ApiParts, DOCUMENT_BYTES_MAX, queueFor, storeUnavailable } from './parts.ts'
import { receiptFor, receiptOf } from './receipt.ts'
import { type ApiRequest, contentKind, invalid, jsonText, NO_CONTENT, NOBODY, type Outcome, readDocument, readText } from './request.ts'
import { invalidResult, jobsOf } from './destination.ts'
import { readSettlement, type SettlementReading } from './settlement.ts'

const CONSUMER_LENGTH_MAX = 64
const NO_SETTLEMENTS: readonly SettlementReading[] = []

interface ReceiveDocument {
  readonly max: number
  readonly waitMs: Millis
  readonly leaseMs: Millis
  readonly consumer: string
  readonly settlements: readonly SettlementReading[] | undefined
}

export async function receive(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const asked = await askedOf(request, parts, pulledQueue(request, parts, name))
  if (asked === undefined) return NOBODY
  if (isFailure(asked)) return asked
  const { queue } = asked
  const document = readReceive(asked.value, queue, parts)
  if (typeof document === 'string') return invalid(document)
  const { max, waitMs, leaseMs, consumer, settlements } = document
  const { queues } = parts.jobs
  // The store works in the order of the calls: what is settled here is settled before it is asked for more.
  const settling = settle(settlements ?? NO_SETTLEMENTS, parts, queue)
  const receiving = queues.receive({ queue: queue.name, consumer, max, waitMs, leaseMs }, request.asker)
  const [settled, received] = await Promise.allSettled([settling, receiving])
  if (settled.status === 'rejected' || received.status === 'rejected') {
    if (received.status === 'fulfilled' && received.value.kind === 'received') queues.handBack(received.value.leases)
    return storeUnavailable()
  }
  const results = settlements === undefined ? '' : `"results":[${settled.value.join(',')}],`
  const outcome = received.value
  switch (outcome.kind) {
    case 'received':
      return delivered(request, parts, outcome, { results, leaseMs })
    case 'gone':
      return NOBODY
    case 'full':
      return failure('too_many_receivers', `${parts.config.api.receiversMax} pull consumers wait already (api.receiversMax).`, 1)
    case 'closing':
      // What was settled must be told; without that, whoever asks should ask elsewhere.
      return settlements === undefined
        ? failure('shutting_down', 'The gateway shuts down and hands out nothing more.')
        : jsonText(`{${results}"jobs":[]}`)
  }
}

/** Settlements only. */
export async function settleCall(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const asked = await askedOf(request, parts, receivedQueue(request, parts, name))
  if (asked === undefined) return NOBODY
  if (isFailure(asked)) return asked
  const { queue, value } = asked
  if (!isMapping(value)) return invalid('The body must be an object, such as { "settlements": [ ] }.')
  const other = otherField(value, ['settlements'])
  if (other !== undefined) return invalid(other)
  const settlements = readSettlements(value['settlements'], queue, parts)
  if (typeof settlements === 'string') return invalid(settlements)
  return jsonText(`{"results":[${(await settle(settlements, parts, queue)).join(',')}]}`)
}

export async function extend(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const asked = await askedOf(request, parts, receivedQueue(request, parts, name))
  if (asked === undefined) return NOBODY
  if (isFailure(asked)) return asked
  const { queue, value } = asked
  if (!isMapping(value) || !Array.isArray(value['receipts'])) return invalid('receipts: must be a list of receipts.')
  const other = otherField(value, ['receipts', 'lease'])
  if (other !== undefined) return invalid(other)
  const receipts = value['receipts'] as readonly unknown[]
  const tooMany = manyText('receipts', receipts.length, parts)
  if (tooMany !== undefined) return invalid(tooMany)
  const leaseMs = readLease(value['lease'], queue, parts)
  if (typeof leaseMs === 'string') return invalid(leaseMs)
  const parsed = receipts.map((receipt) => receiptFor(queue.name, receipt)?.lease)
  const leases = parsed.filter((lease): lease is LeaseRef => lease !== undefined)
  const outcomes = await parts.jobs.queues.extend(leases, leaseMs)
  return jsonText(`{"results":[${extendResults(parsed, outcomes).join(',')}]}`)
}

export async function progress(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = receivedQueue(request, parts, name)
  if (isFailure(queue)) return queue
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const { value } = read
  if (!isMapping(value)) return invalid('The body must be an object with receipt and progress.')
  const receipt = receiptFor(queue.name, value['receipt'])
  if (receipt === undefined) return invalid('receipt: must be one that a receive gave.')
  const text = value['progress'] === undefined ? undefined : compactJson(value['progress'])
  if (text === undefined) return invalid(`progress: must be JSON of at most ${PROGRESS_DEPTH_MAX} levels.`)
  if (Buffer.byteLength(text) > PROGRESS_BYTES_MAX) return invalid(`progress: has more than ${PROGRESS_BYTES_MAX} bytes.`)
  const [known] = await parts.jobs.queues.read([receipt.lease.id], 'status')
  return known?.job.queue === queue.name && (await parts.jobs.reports.progress(receipt.lease, text)).kind === 'done'
    ? NO_CONTENT
    : failure('lease_gone', 'The lease is over: the job was settled, cancelled or handed out again.')
}

// --- what is asked

/** One that hands out to pull consumers. */
function pulledQueue(request: ApiRequest, parts: ApiParts, name: string): QueueConfig | Failure {
  const queue = queueFor(parts, request.caller, 'receive', name)
  if (isFailure(queue)) return queue
  if (queue.config.pull) return queue.config
  return failure('not_pulled', 'The queue is worked off by its pool; `pull: true` lets pull consumers take part.')
}

/** One from which something may have been received, also if it is no longer one to receive from. */
function receivedQueue(request: ApiRequest, parts: ApiParts, name: string): QueueConfig | Failure {
  const queue = queueFor(parts, request.caller, 'receive', name)
  return isFailure(queue) ? queue : queue.config
}

interface Asked {
  readonly queue: QueueConfig
  /** The body; an empty one is an empty object. */
  readonly value: unknown
}

/** Undefined: nobody is there any more. */
async function askedOf(request: ApiRequest, parts: ApiParts, queue: QueueConfig | Failure): Promise<Asked | Failure | undefined> {
  if (isFailure(queue)) return queue
  const kind = contentKind(request, ['json'])
  if (typeof kind === 'object') return kind
  const read = await readText(request, parts.config.api.body, parts)
  if (read === undefined || isFailure(read)) return read
  read.free()
  const value = read.text === '' ? {} : jobsOf(read.text)
  return value === undefined ? invalid('The body is not valid JSON.') : { queue, value }
}

function readReceive(value: unknown, queue: QueueConfig, parts: ApiParts): ReceiveDocument | string {
  if (!isMapping(value)) return 'The body must be an object, such as { "max": 10, "wait": "20s" }.'
  const other = otherField(value, ['max', 'wait', 'lease', 'consumer', 'settlements'])
  if (other !== undefined) return other
  const { receiveMax } = parts.config.api
  const { max = 1, wait = 0, lease, consumer = '', settlements } = value
  if (!isCount(max, 1, receiveMax)) return `max: must be a whole number from 1 to ${receiveMax} (api.receiveMax).`
  const waitMs = readDuration(wait)
  if (waitMs === undefined) return 'wait: must be a duration such as "20s".'
  const leaseMs = readLease(lease, queue, parts)
  if (typeof leaseMs === 'string') return leaseMs
  if (typeof consumer !== 'string' || consumer.length > CONSUMER_LENGTH_MAX || !/^[\x20-\x7e]*$/.test(consumer)) {
    return `consumer: must be a text of at most ${CONSUMER_LENGTH_MAX} printable ASCII characters.`
  }
  const read = settlements === undefined ? undefined : readSettlements(settlements, queue, parts)
  if (typeof read === 'string') return read
  return { max, waitMs: Math.min(waitMs, parts.config.jobs.waitMaxMs), leaseMs, consumer: `pull ${consumer}`.trim(), settlements: read }
}

function readLease(lease: unknown, queue: QueueConfig, parts: ApiParts): Millis | string {
  const { leaseMaxMs } = parts.config.api
  const leaseMs = lease === undefined ? Math.min(queue.timeoutMs, leaseMaxMs) : readDuration(lease)
  if (leaseMs !== undefined && leaseMs > 0 && leaseMs <= leaseMaxMs) return leaseMs
  return `lease: must be a duration such as "60s", more than 0 and at most ${leaseMaxMs} ms (api.leaseMax).`
}

function readSettlements(value: unknown, queue: QueueConfig, parts: ApiParts): readonly SettlementReading[] | string {
  if (!Array.isArray(value)) return 'settlements: must be a list, such as [ { "receipt": "…", "outcome": "succeed" } ].'
  const tooMany = manyText('settlements', value.length, parts)
  if (tooMany !== undefined) return tooMany
  const bounds = {
    resultBytesMax: parts.config.limits.result,
    headBytesMax: parts.config.limits.head,
    headersMax: parts.config.limits.headers,
  }
  return value.map((one, i) => readSettlement(one, `settlements[${i}]`, queue, { ...bounds, unit: () => parts.random.unit() }))
}

function manyText(field: string, length: number, parts: ApiParts): string | undefined {
  const { receiveMax } = parts.config.api
  return length > receiveMax ? `${field}: has ${length} entries, at most ${receiveMax} go in one call (api.receiveMax).` : undefined
}

export function otherField(value: Readonly<Record<string, unknown>>, fields: readonly string[]): string | undefined {
  for (const field in value) if (!fields.includes(field)) return `${field}: there is no such field; there are ${fields.join(', ')}.`
  return undefined
}

// --- what is answered

async function settle(readings: readonly SettlementReading[], parts: ApiParts, queue: QueueConfig): Promise<readonly string[]> {
  const settlements: Ending[] = []
  for (const reading of readings) if (typeof reading !== 'string') settlements.push(reading)
  const outcomes = await parts.jobs.queues.settle(queue, settlements)
  let next = 0
  return readings.map((reading) => (typeof reading === 'string' ? invalidResult(reading) : settledJson(outcomes[next++] as SettleOutcome)))
}

const STALE = '{"status":"stale"}'

function settledJson(outcome: SettleOutcome): string {
  return outcome.kind === 'settled' ? `{"status":"settled","job":"${outcome.job.status}"}` : STALE
}

function extendResults(parsed: readonly (LeaseRef | undefined)[], outcomes: readonly LeaseOutcome[]): readonly string[] {
  let next = 0
  return parsed.map((lease, i) => {
    if (lease === undefined) return invalidResult(`receipts[${i}]: must be one that a receive gave`)
    return outcomes[next++] === 'extended' ? '{"status":"extended"}' : STALE
  })
}

interface Delivery {
  readonly results: string
  readonly leaseMs: Millis
}

function delivered(
  request: ApiRequest,
  parts: ApiParts,
  received: { readonly leases: readonly Lease[]; readonly leasedAt: EpochMillis },
  { results, leaseMs }: Delivery,
): Outcome {
  const { queues } = parts.jobs
  const { leases, leasedAt } = received
  if (request.asker.gone) {
    queues.handBack(leases)
    return NOBODY
  }
  let fitting = 0
  let bytes = 0
  for (const {
    request: { body },
  } of leases) {
    if (!parts.budget.take(body.length)) break
    bytes += body.length
    fitting++
  }
  const kept = fitting === leases.length ? leases : leases.slice(0, fitting)
  if (kept.length < leases.length) queues.handBack(leases.slice(fitting))
  // With results to tell it answers all the same: what was settled must be known.
  if (fitting === 0 && leases.length > 0 && results === '') {
    return failure('buffers_full', 'The bodies held in memory are at their limit (limits.buffered).', 1)
  }
  const leaseEndsAt = new Date(leasedAt + leaseMs).toISOString()
  const jobs = kept.map((lease) => receivedJson(lease, leaseEndsAt))
  return jsonText(`{${results}"jobs":[${jobs.join(',')}]}`, () => parts.budget.give(bytes))
}

/** Written by hand: this is made for every job that is received. Ids, secrets and times have no character that JSON would escape. */
function receivedJson(lease: Lease, leaseEndsAt: string): string {
  const { job, ref, request } = lease
  let text = `{"id":"${job.id}","receipt":"${receiptOf(lease)}","fence":${ref.fence},"attempt":${job.attempt},"attempts":${job.attempts},"priority":${job.priority}`
  if (job.key !== undefined) text += `,"key":${JSON.stringify(job.key)}`
  if (job.tenant !== undefined) text += `,"tenant":${JSON.stringify(job.tenant)}`
  if (job.parent !== undefined) text += `,"parent":"${job.parent.id}"`
  if (job.reference !== undefined) text += `,"reference":${JSON.stringify(job.reference)}`
  text += `,"submittedAt":"${new Date(job.submittedAt).toISOString()}","leaseEndsAt":"${leaseEndsAt}"`
  if (job.deadlineAt !== undefined) text += `,"deadlineAt":"${new Date(job.deadlineAt).toISOString()}"`
  return `${text},"method":${JSON.stringify(request.method)},"target":${JSON.stringify(request.target)},${messageMembers(request, false)}}`
}
