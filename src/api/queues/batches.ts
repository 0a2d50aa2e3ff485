/** Batches of the queue API: jobs that are taken together or not at all, watched as one by the token that the answer holds, or by id. */
import { hash } from 'node:crypto'
import type { ApiRight } from '../../config/config.ts'
import { type Failure, isFailure } from '../../core/errors.ts'
import { type BatchDocument, readBatchDocument } from '../../core/jobs/batch-document.ts'
import { isWrong, readJobDocument, type Wrong, wrongText } from '../../core/jobs/job-document.ts'
import { IDEMPOTENCY_KEY_LENGTH_MAX } from '../../core/jobs/limits.ts'
import type { Batch, NewBatch } from '../../jobs/batches.ts'
import { newJobOf } from '../../jobs/new-job.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { NewJob } from '../../ports/job-store.ts'
import { batchDocument, batchToken, batchView } from '../batch-document.ts'
import { noSuchBatch } from '../batch-endpoints.ts'
import { batchRefusal } from '../refused.ts'
import { jobsOf, senderOf } from './destination.ts'
import { documentLimits } from '../../config/resolve-queues.ts'
import { type ApiParts, mayNot, noSuchQueue, queueFor } from './parts.ts'
import { type ApiRequest, contentKind, invalid, json, NOBODY, type Outcome, readText } from './request.ts'

export async function sendBatch(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'send', name)
  if (isFailure(queue)) return queue
  if (queue.origin === 'none') return noSuchQueue()
  const kind = contentKind(request, ['json'])
  if (typeof kind === 'object') return kind
  const read = await readText(request, parts.config.api.body, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  try {
    const value = jobsOf(read.text)
    if (value === undefined) return invalid('The body is not valid JSON.')
    const document = readBatchDocument(value, { list: 'jobs', max: parts.config.limits.batch, others: ['idempotencyKey'] })
    if (isWrong(document)) return invalid(`${wrongText('', document)}.`)
    const key = isMapping(value) ? value['idempotencyKey'] : undefined
    if (key !== undefined && !isKey(key)) return invalid(`idempotencyKey: must be a text of 1 to ${IDEMPOTENCY_KEY_LENGTH_MAX} characters.`)
    const sender = { route: 'api', ...senderOf(parts, request.caller) }
    const jobs = newJobs(document, parts, (item, index) => newJobOf(item, queue.config, { ...sender, plan: { batch: { index } } }))
    if ('wrong' in jobs) return invalid(`${wrongText('', jobs)}.`)
    const { reference } = document
    return await submitted(
      {
        jobs,
        ...(reference !== undefined && { reference }),
        ...(key !== undefined && { once: onceFor([request.caller.name, name, key], read.text) }),
      },
      parts,
    )
  } finally {
    read.free()
  }
}

async function submitted(batch: NewBatch, parts: ApiParts): Promise<Outcome> {
  const outcome = await parts.jobs.batches.submit(batch)
  if (!('batch' in outcome)) return batchRefusal(parts, outcome)
  const document = { ...batchDocument(parts.config, outcome.batch), token: batchToken(outcome.batch) }
  return json(outcome.kind === 'created' ? 201 : 200, document)
}

function newJobs(
  { items }: BatchDocument,
  parts: ApiParts,
  make: (document: Exclude<ReturnType<typeof readJobDocument>, Wrong>, index: number) => NewJob | Wrong,
): readonly NewJob[] | Wrong {
  const limits = documentLimits(parts.config)
  const jobs: NewJob[] = []
  for (const [index, item] of items.entries()) {
    const document = readJobDocument(item, limits)
    const job = isWrong(document) ? document : document.idempotencyKey === undefined ? make(document, index) : ITS_KEY
    if ('wrong' in job) return { path: wrongPath(index, job), wrong: job.wrong }
    jobs.push(job)
  }
  return jobs
}

const ITS_KEY: Wrong = { path: 'idempotencyKey', wrong: 'has no meaning in a batch, which is told apart as a whole; give it one' }

function wrongPath(index: number, { path }: Wrong): string {
  return path === '' ? `jobs[${index}]` : `jobs[${index}].${path}`
}

function isKey(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= IDEMPOTENCY_KEY_LENGTH_MAX && value.isWellFormed()
}

function onceFor(scope: readonly string[], body: string): NonNullable<NewBatch['once']> {
  return { scopeKey: hash('sha256', JSON.stringify(['queue-api batch', ...scope]), 'hex'), fingerprint: hash('sha256', body, 'hex') }
}

export async function showBatch(request: ApiRequest, parts: ApiParts, id: string): Promise<Outcome> {
  const batch = await batchFor(request, parts, id, 'browse')
  return isFailure(batch) ? batch : json(200, batchView(batch))
}

/** What has not ended is cancelled; the answer may come before all of it is counted. */
export async function cancelBatch(request: ApiRequest, parts: ApiParts, id: string): Promise<Outcome> {
  const batch = await batchFor(request, parts, id, 'manage')
  if (isFailure(batch)) return batch
  await parts.jobs.batches.cancel(batch)
  return json(200, batchView(batch))
}

/** Whoever may do it with all of its queues. */
async function batchFor(request: ApiRequest, parts: ApiParts, id: string, right: ApiRight): Promise<Batch | Failure> {
  const batch = await parts.jobs.batches.find(id)
  if (batch === undefined) return noSuchBatch()
  for (const queue of batch.head.queues) {
    const refused = mayNot(request.caller, right, queue)
    if (refused !== undefined) return refused.code === 'no_such_queue' ? noSuchBatch() : refused
  }
  return batch
}
