/**
 * The events of one job as a stream: Server-Sent Events or one JSON object per line. Every event is a whole snapshot, so a reader
 * that is too slow simply misses snapshots: what is kept for it is the latest one, never a line of them.
 */
import { headerValue } from '../http1/message.ts'
import type { Jobs } from '../jobs/jobs.ts'
import { isEnded } from '../jobs/watch.ts'
import type { Call } from '../net/call.ts'
import type { Random } from '../ports/clock.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { type DocumentParts, jobHeaders, statusDocument } from './document.ts'
import { PRIVATE_HEADERS } from './problem.ts'

export type StreamFormat = 'sse' | 'ndjson'

export interface StreamParts extends DocumentParts {
  readonly jobs: Pick<Jobs, 'estimate' | 'watch' | 'closing'>
  readonly random: Random
}

export interface StreamOptions {
  readonly format: StreamFormat
  readonly status: 200 | 202
  readonly extraHeaders: readonly string[]
}

const RECONNECT_MIN_MS = 500
const RECONNECT_SPREAD_MS = 4500

/** Undefined: the client takes neither format. No Accept, or a wildcard, means SSE. */
export function streamFormat(accept: string | undefined): StreamFormat | undefined {
  if (accept === undefined || accept.trim() === '') return 'sse'
  let wildcard = false
  for (const member of accept.toLowerCase().split(',')) {
    const [type, ...parameters] = member.split(';').map((part) => part.trim())
    if (parameters.some((parameter) => /^q\s*=\s*0(\.0{0,3})?$/.test(parameter))) continue
    if (type === 'application/x-ndjson') return 'ndjson'
    if (type === 'text/event-stream' || type === 'text/*') return 'sse'
    if (type === '*/*' || type === 'application/*') wildcard = true
  }
  return wildcard ? 'sse' : undefined
}

/** A client that has seen the end, and says so, has nothing to come back for (HTML standard: 204 stops an EventSource). */
export function hasSeenEnd(call: Call, job: StoredJob): boolean {
  return isEnded(job.status) && headerValue(call.head.headers, 'last-event-id') === String(job.version)
}

/** Answers with the stream, from the snapshot `job` to its end. */
export function streamEvents(call: Call, parts: StreamParts, job: StoredJob, options: StreamOptions): void {
  const type = options.format === 'sse' ? 'text/event-stream' : 'application/x-ndjson'
  const headers = ['Content-Type', type, ...jobHeaders(job), ...PRIVATE_HEADERS, 'X-Accel-Buffering', 'no', ...options.extraHeaders]
  call.sendHead(options.status, options.status === 202 ? 'Accepted' : 'OK', headers, 'chunked')
  if (call.head.method === 'HEAD') return call.end()
  new EventStream(call, parts, options.format).start(job)
}

class EventStream {
  readonly #call: Call
  readonly #parts: StreamParts
  readonly #format: StreamFormat
  #flowing = true
  /** The latest snapshot that the reader has not been sent. */
  #pending: StoredJob | undefined
  #progress: string | undefined
  #unwatch: (() => void) | undefined
  #over = false

  constructor(call: Call, parts: StreamParts, format: StreamFormat) {
    this.#call = call
    this.#parts = parts
    this.#format = format
  }

  start(job: StoredJob): void {
    const { config, jobs } = this.#parts
    this.#call.onDrain(() => this.#orBreakOff(() => this.#drained()))
    this.#call.onGone(() => this.#leave())
    jobs.closing.addEventListener('abort', this.#closing, { once: true })
    this.#unwatch = jobs.watch(job.id, job.version, config.jobs.heartbeatMs, {
      job: (changed) => this.#orBreakOff(() => this.#offer(changed)),
      beat: (read) => this.#orBreakOff(() => this.#beat(read)),
    })
    this.#progress = job.progress
    this.#orBreakOff(() => this.#send(isEnded(job.status) ? 'end' : 'status', job))
    if (jobs.closing.aborted) this.#closing()
  }

  /** A snapshot that cannot be written ends this stream and nothing else: its callers serve everybody. */
  #orBreakOff(step: () => void): void {
    try {
      step()
    } catch {
      this.#leave()
      this.#call.log.error = 'internal'
      this.#call.abort()
    }
  }

  #offer(job: StoredJob): void {
    if (this.#over) return
    if (!this.#flowing) {
      this.#pending = job
      return
    }
    if (isEnded(job.status)) return this.#send('end', job)
    // A change of the progress alone is told as such.
    const event = job.progress !== this.#progress && job.progress !== undefined ? 'progress' : 'status'
    this.#progress = job.progress
    this.#send(event, job)
  }

  #send(event: 'status' | 'progress' | 'end', job: StoredJob): void {
    const data = JSON.stringify({ event, version: job.version, ...statusDocument(this.#parts, job) })
    this.#write(this.#format === 'sse' ? `event: ${event}\nid: ${job.version}\ndata: ${data}\n\n` : `${data}\n`)
    if (event === 'end') this.#finish()
  }

  #write(text: string): void {
    this.#flowing = this.#call.write(text)
  }

  #drained(): void {
    this.#flowing = true
    const job = this.#pending
    this.#pending = undefined
    if (job !== undefined) this.#offer(job)
  }

  #beat(read: StoredJob | undefined): void {
    if (this.#over) return
    // Its retention is over: there is nothing left to tell.
    if (read === undefined) return this.#finish()
    if (this.#flowing) this.#write(this.#format === 'sse' ? ': heartbeat\n\n' : '{"event":"heartbeat"}\n')
  }

  /** The gateway shuts down: clients come back spread over some seconds, to its successor. */
  readonly #closing = (): void => {
    if (this.#over) return
    const retryMs = Math.round(RECONNECT_MIN_MS + this.#parts.random.unit() * RECONNECT_SPREAD_MS)
    this.#write(this.#format === 'sse' ? `retry: ${retryMs}\n\n` : `${JSON.stringify({ event: 'reconnect', retryMs })}\n`)
    this.#finish()
  }

  #finish(): void {
    this.#leave()
    this.#call.end()
  }

  #leave(): void {
    this.#over = true
    this.#pending = undefined
    this.#unwatch?.()
    this.#parts.jobs.closing.removeEventListener('abort', this.#closing)
  }
}
