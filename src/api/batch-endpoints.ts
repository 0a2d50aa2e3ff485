/** The addresses of a batch: `<jobs.path>/batches/<token>`, its jobs, its events. A wrong token, an unknown one and a batch that is over are the same 404. */
import { type Failure, failure } from '../core/errors.ts'
import { tagsOf } from '../core/headers/conditional.ts'
import { headerValue, headerValues } from '../http1/message.ts'
import type { Batch } from '../jobs/batches.ts'
import { idAt } from '../jobs/batch-notes.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Millis } from '../lib/units.ts'
import type { Call } from '../net/call.ts'
import { batchDocument, batchTag, sendBatch } from './batch-document.ts'
import { isCaller } from './binding.ts'
import type { Clients } from './clients.ts'
import { jobLinks } from './document.ts'
import { streamFormat, type StreamFormat } from './event-stream.ts'
import { type FollowParts, reconnectMs } from './job-events.ts'
import { leaving } from './leaving.ts'
import { PRIVATE_HEADERS } from './problem.ts'
import { secretMatches, type TokenParts } from './token.ts'

export type BatchResource = 'batch' | 'batch-jobs' | 'batch-events'

export interface BatchParts extends FollowParts {
  readonly jobs: FollowParts['jobs'] & Pick<Jobs, 'batches'>
  readonly clients: Clients
}

export interface AskedBatch {
  readonly resource: BatchResource
  readonly token: TokenParts | undefined
  readonly extraHeaders: readonly string[]
  /** How long the client would wait. */
  readonly waitMs: Millis
}

const PAGE_DEFAULT = 100
const PAGE_MAX = 1000
/** Its jobs are cancelled by then; how they ended is counted a moment later. */
const CANCELLED_WAIT_MS: Millis = 2000

export function noSuchBatch(): Failure {
  return failure('no_such_batch', 'The address is wrong, or the batch is no longer kept.')
}

/** Undefined: answered, or nobody is there any more. */
export async function answerBatch(call: Call, parts: BatchParts, asked: AskedBatch): Promise<Failure | undefined> {
  const { token, resource, extraHeaders, waitMs } = asked
  if (token === undefined) return noSuchBatch()
  const { batches } = parts.jobs
  const batch = await batches.find(token.id)
  if (!secretMatches(batch?.head, token.secret) || batch === undefined) return noSuchBatch()
  if (call.gone) return undefined
  if (resource === 'batch-jobs') return sendJobs(call, parts, batch, extraHeaders)
  if (resource === 'batch-events') return streamBatch(call, parts, batch, extraHeaders)
  if (call.head.method === 'DELETE') {
    const before = batch.state.counts.cancelled
    const cancelled = await batches.cancel(batch, (job) => isCaller(job, call.head.headers))
    await batches.wait(batch, CANCELLED_WAIT_MS, { isEnough: () => batch.state.counts.cancelled >= before + cancelled })
  } else if (waitMs > 0 && !batch.ended) {
    const refused = await watching(call, parts, () => waitFor(call, parts, batch, waitMs))
    if (refused !== undefined) return refused
  }
  if (!call.gone) sendBatch(call, parts.config, batch, { status: 200, extraHeaders })
  return undefined
}

/** As long as it lasts, its client watches. A failure: it watches as much as it may, and nothing was begun. */
async function watching(call: Call, { clients }: BatchParts, work: () => Promise<void>): Promise<Failure | undefined> {
  // A batch is its client's by the address that it came from.
  const leave = clients.takeWatch(clients.nameOf(call, undefined))
  if (typeof leave !== 'function') return leave
  try {
    await work()
  } finally {
    leave()
  }
  return undefined
}

async function waitFor(call: Call, { jobs }: BatchParts, batch: Batch, waitMs: Millis): Promise<void> {
  const [known] = tagsOf(headerValues(call.head.headers, 'if-none-match').join(','))
  using left = leaving(call, jobs.closing)
  const isEnough = (): boolean => known !== undefined && known !== `W/"${batchTag(batch)}"`
  await jobs.batches.wait(batch, waitMs, { signal: left.signal, isEnough })
}

async function sendJobs(call: Call, parts: BatchParts, batch: Batch, extraHeaders: readonly string[]): Promise<Failure | undefined> {
  const query = new URLSearchParams(call.head.query)
  const after = countOf(query.get('after') ?? '-1', -1, batch.state.total)
  const max = countOf(query.get('max') ?? String(PAGE_DEFAULT), 1, PAGE_MAX)
  if (after === undefined) return failure('bad_request', 'The query parameter `after` is what `next` of the page before was.')
  if (max === undefined) return failure('bad_request', `The query parameter \`max\` is a number from 1 to ${PAGE_MAX}.`)
  const first = after + 1
  const page = await parts.jobs.batches.page(batch, first, max)
  const jobs = page.map((job, i) => {
    const index = first + i
    // Its token is for the batch: a job that is bound to somebody else it counts, and does not open.
    if (job === undefined || !isCaller(job, call.head.headers)) {
      return { index, id: idAt(batch.id, index), status: batch.state.statusOf(index) }
    }
    return {
      index,
      id: job.id,
      status: job.status,
      ...(job.reference !== undefined && { reference: job.reference }),
      links: jobLinks(parts.config, job),
    }
  })
  const last = first + page.length - 1
  const document = { jobs, ...(last + 1 < batch.state.total && { next: last }) }
  if (!call.gone) call.send(200, ['Content-Type', 'application/json', ...PRIVATE_HEADERS, ...extraHeaders], JSON.stringify(document))
  return undefined
}

function countOf(text: string, min: number, max: number): number | undefined {
  const count = /^-?\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  return count >= min && count <= max ? count : undefined
}

/** Each event is the whole status, so a reader that is slow misses some and nothing else. */
async function streamBatch(call: Call, parts: BatchParts, batch: Batch, extraHeaders: readonly string[]): Promise<Failure | undefined> {
  const format = streamFormat(headerValue(call.head.headers, 'accept'))
  if (format === undefined) return failure('not_acceptable', 'Events come as text/event-stream or application/x-ndjson.')
  if (batch.ended && headerValue(call.head.headers, 'last-event-id') === batchTag(batch)) {
    call.send(204, [...PRIVATE_HEADERS, ...extraHeaders], '')
    return undefined
  }
  return watching(call, parts, async () => {
    const type = format === 'sse' ? 'text/event-stream' : 'application/x-ndjson'
    call.sendHead(200, 'OK', ['Content-Type', type, ...PRIVATE_HEADERS, 'X-Accel-Buffering', 'no', ...extraHeaders], 'chunked')
    if (call.head.method === 'HEAD') call.end()
    else await follow(call, parts, batch, format)
  })
}

async function follow(call: Call, parts: BatchParts, batch: Batch, format: StreamFormat): Promise<void> {
  const { config, jobs, random } = parts
  let resume: () => void = () => undefined
  call.onGone(() => resume())
  const write = async (text: string): Promise<void> => {
    const flowing = new Promise<void>((resolve) => {
      resume = resolve
      call.onDrain(resolve)
    })
    if (!call.write(text) && !call.gone) await flowing
  }
  using left = leaving(call, jobs.closing)
  let told = ''
  while (!call.gone) {
    const tag = batchTag(batch)
    const { ended } = batch
    await write(tag === told ? beat(format) : event(format, ended ? 'end' : 'status', tag, batchDocument(config, batch)))
    told = tag
    if (ended) return call.end()
    if (jobs.closing.aborted) {
      await write(
        format === 'sse'
          ? `retry: ${reconnectMs(random)}\n\n`
          : `${JSON.stringify({ event: 'reconnect', retryMs: reconnectMs(random) })}\n`,
      )
      return call.end()
    }
    await jobs.batches.wait(batch, config.jobs.heartbeatMs, { signal: left.signal, isEnough: () => batchTag(batch) !== told })
  }
}

function event(format: StreamFormat, name: 'status' | 'end', tag: string, document: Record<string, unknown>): string {
  if (format === 'ndjson') return `${JSON.stringify({ event: name, ...document })}\n`
  return `event: ${name}\nid: ${tag}\ndata: ${JSON.stringify({ event: name, ...document })}\n\n`
}

function beat(format: StreamFormat): string {
  return format === 'sse' ? ': heartbeat\n\n' : '{"event":"heartbeat"}\n'
}
