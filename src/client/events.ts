/** The events of a job: Server-Sent Events (HTML standard, section 9.2) or one JSON object per line, whichever the answer says it is. */
import { parseJson } from './errors.ts'
import type { OpenAnswer } from './open.ts'
import type { JobDocument } from './jobs.ts'
import { readLines } from './lines.ts'

export interface JobEvent extends JobDocument {
  readonly event: 'status' | 'progress' | 'reset' | 'end'
  /** Another one with every change. */
  readonly version: number
}

/** The gateway shuts down: come back after this time, to its successor. */
export interface Reconnect {
  readonly event: 'reconnect'
  readonly retryMs: number
}

/** Of one snapshot, progress included. */
const LINE_MAX = 1 << 20

/** Rejects with `timeout` when nothing comes for `idleMs`, heartbeats counted. */
export async function* readEvents(answer: OpenAnswer, idleMs: number): AsyncGenerator<JobEvent | Reconnect, void> {
  const sse = (answer.response.headers.get('content-type') ?? '').startsWith('text/event-stream')
  const blocks = new EventBlocks()
  for await (const line of readLines(answer, { idleMs, lengthMax: LINE_MAX })) {
    const { data, retryMs } = sse ? blocks.line(line) : { data: line, retryMs: undefined }
    if (retryMs !== undefined) yield { event: 'reconnect', retryMs }
    const event = data === undefined ? undefined : jsonEvent(data)
    if (event !== undefined) yield event
  }
}

/** What a line of an event stream brings: of an event its data, with its last line; the time to come back, with its own. */
export interface Brought {
  readonly data?: string
  readonly retryMs?: number
}

const NOTHING: Brought = {}

/** Lines of an event stream, made into events. The field names `event` and `id` are left out: our data says both itself. */
export class EventBlocks {
  #data: string[] = []

  line(line: string): Brought {
    if (line === '') {
      const data = this.#data
      this.#data = []
      return data.length === 0 ? NOTHING : { data: data.join('\n') }
    }
    const [, field, value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? []
    if (field === 'data') this.#data.push(value)
    return field === 'retry' && /^\d{1,9}$/.test(value) ? { retryMs: Number(value) } : NOTHING
  }
}

function jsonEvent(line: string): JobEvent | Reconnect | undefined {
  const read = parseJson(line) as JobEvent | Reconnect | { readonly event: 'heartbeat' } | undefined
  return read === undefined || read.event === 'heartbeat' ? undefined : read
}
