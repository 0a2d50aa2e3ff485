/** The events of one job as a stream: Server-Sent Events, or one JSON object per line. */
import { headerValue } from '../http1/message.ts'
import { isEnded } from '../jobs/watch.ts'
import type { Millis } from '../lib/units.ts'
import type { Call } from '../net/call.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { type DocumentParts, jobHeaders } from './document.ts'
import { eventDocument, type EventReader, type FollowParts, JobFollower, type JobEventName } from './job-events.ts'
import { PRIVATE_HEADERS } from './problem.ts'

export type StreamFormat = 'sse' | 'ndjson'

export interface StreamOptions {
  readonly format: StreamFormat
  readonly status: 200 | 202
  readonly extraHeaders: readonly string[]
  /** The stream is over, however. */
  readonly onOver: () => void
}

/** Undefined: the client takes neither format. No Accept, or a wildcard, means SSE. */
export function streamFormat(accept: string | undefined): StreamFormat | undefined {
  if (accept === undefined || accept.trim() === '') return 'sse'
  const types = acceptedTypes(accept)
  const first = types.find((type) => type === 'application/x-ndjson' || type === 'text/event-stream' || type === 'text/*')
  if (first !== undefined) return first === 'application/x-ndjson' ? 'ndjson' : 'sse'
  return types.some((type) => type === '*/*' || type === 'application/*') ? 'sse' : undefined
}

/** Only where the client names it. */
export function namedFormat(accept: string | undefined): StreamFormat | undefined {
  const first = acceptedTypes(accept ?? '').find((type) => type === 'application/x-ndjson' || type === 'text/event-stream')
  return first === undefined ? undefined : first === 'text/event-stream' ? 'sse' : 'ndjson'
}

/** As they stand there, but for those that are refused. */
function acceptedTypes(accept: string): readonly string[] {
  return accept
    .toLowerCase()
    .split(',')
    .flatMap((member) => {
      const [type = '', ...parameters] = member.split(';').map((part) => part.trim())
      return parameters.some((parameter) => /^q\s*=\s*0(\.0{0,3})?$/.test(parameter)) ? [] : [type]
    })
}

/** A client that was cut off and comes back says what it has seen last. */
function hasSeen(call: Call, job: StoredJob): boolean {
  return headerValue(call.head.headers, 'last-event-id') === String(job.version)
}

/** One that has seen the end has nothing to come back for (HTML standard: 204 stops an EventSource). */
export function hasSeenEnd(call: Call, job: StoredJob): boolean {
  return isEnded(job.status) && hasSeen(call, job)
}

/** Answers with the stream, from the snapshot `job` to its end; a snapshot that the client has is not told again. */
export function streamEvents(call: Call, parts: FollowParts, job: StoredJob, options: StreamOptions): void {
  const type = options.format === 'sse' ? 'text/event-stream' : 'application/x-ndjson'
  const headers = ['Content-Type', type, ...jobHeaders(job), ...PRIVATE_HEADERS, 'X-Accel-Buffering', 'no', ...options.extraHeaders]
  call.sendHead(options.status, options.status === 202 ? 'Accepted' : 'OK', headers, 'chunked')
  if (call.head.method === 'HEAD') {
    options.onOver()
    return call.end()
  }
  const follower = new JobFollower(parts, new StreamReader(call, parts, options.format), options.onOver)
  call.onDrain(() => follower.drained())
  call.onGone(() => follower.leave())
  follower.start(job, hasSeen(call, job))
}

class StreamReader implements EventReader {
  readonly #call: Call
  readonly #parts: DocumentParts
  readonly #isSse: boolean

  constructor(call: Call, parts: DocumentParts, format: StreamFormat) {
    this.#call = call
    this.#parts = parts
    this.#isSse = format === 'sse'
  }

  event(name: JobEventName, job: StoredJob): boolean {
    const data = JSON.stringify(eventDocument(this.#parts, name, job))
    return this.#call.write(this.#isSse ? `event: ${name}\nid: ${job.version}\ndata: ${data}\n\n` : `${data}\n`)
  }

  beat(): boolean {
    return this.#call.write(this.#isSse ? ': heartbeat\n\n' : '{"event":"heartbeat"}\n')
  }

  reconnect(retryMs: Millis): void {
    this.#call.write(this.#isSse ? `retry: ${retryMs}\n\n` : `${JSON.stringify({ event: 'reconnect', retryMs })}\n`)
    this.#call.end()
  }

  end(): void {
    this.#call.end()
  }

  breakOff(): void {
    this.#call.log.error = 'internal'
    this.#call.abort()
  }
}
