/**
 * Sending: one job, a batch, or lines as long as the client likes; to a queue or to a topic. Each job has a result of its own, in the order in
 * which they came, and what a result says was done, is durable.
 */
import { documentLimits } from '../../config/resolve-queues.ts'
import { isFailure } from '../../core/errors.ts'
import { isWrong, readJobDocument, wrongText } from '../../core/jobs/job-document.ts'
import { isMapping } from '../../lib/mapping.ts'
import { type Destination, jobsOf, queueDestination, resultsOf } from './destination.ts'
import { type ApiParts, noSuchQueue, queueFor } from './parts.ts'
import { type ApiRequest, contentKind, invalid, jsonText, NOBODY, type Outcome, readText } from './request.ts'
import { sendLines } from './send-lines.ts'

export async function send(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const queue = queueFor(parts, request.caller, 'send', name)
  if (isFailure(queue)) return queue
  if (queue.origin === 'none') return noSuchQueue()
  return sendTo(request, parts, queueDestination(parts, queue.config, request.caller))
}

export async function sendTo(request: ApiRequest, parts: ApiParts, destination: Destination): Promise<Outcome> {
  const kind = contentKind(request, ['json', 'lines'])
  if (typeof kind === 'object') return kind
  if (kind === 'lines') return sendLines(request, parts, destination)
  const read = await readText(request, parts.config.api.body, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  try {
    const value = jobsOf(read.text)
    if (value === undefined) return invalid('The body is not valid JSON.')
    if (isMapping(value) && Object.hasOwn(value, 'jobs')) return await sendBatch(value, parts, destination)
    return await sendOne(value, parts, destination)
  } finally {
    read.free()
  }
}

async function sendOne(value: unknown, parts: ApiParts, destination: Destination): Promise<Outcome> {
  const document = readJobDocument(value, documentLimits(parts.config))
  const jobs = isWrong(document) ? document : destination.jobs(document)
  if ('wrong' in jobs) return invalid(`${wrongText('', jobs)}.`)
  return destination.single(jobs, await parts.jobs.queues.send(jobs))
}

async function sendBatch(batch: Readonly<Record<string, unknown>>, parts: ApiParts, destination: Destination): Promise<Outcome> {
  const documents = batch['jobs']
  const max = parts.config.api.receiveMax
  if (!Array.isArray(documents)) return invalid('jobs: must be a list of jobs.')
  if (documents.length > max) return invalid(`jobs: has ${documents.length} entries, at most ${max} go in one call (api.receiveMax).`)
  const other = Object.keys(batch).find((field) => field !== 'jobs')
  if (other !== undefined) return invalid(`${other}: stands beside jobs, but belongs into each of them.`)
  const results = await resultsOf(documents, parts, destination)
  return jsonText(`{"results":[${results.join(',')}]}`)
}
