/** The events of a job: Server-Sent Events (HTML standard, section 9.2) or one JSON object per line, whichever the answer says it is. */
import { parseJson } from './errors.ts'
import type { OpenAnswer } from './http.ts'
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

/** Three heartbeats of the gateway's default. */
const IDLE_MS = 45_000
/** Of one snapshot, progress included. */
const LINE_MAX = 1 << 20

export async function* readEvents(answer: OpenAnswer): AsyncGenerator<JobEvent | Reconnect, void> {
  const sse = (answer.response.headers.get('content-type') ?? '').startsWith('text/event-stream')
  for await (const line of readLines(answer, { idleMs: IDLE_MS, lengthMax: LINE_MAX })) {
    const event = sse ? sseEvent(line) : jsonEvent(line)
    if (event !== undefined) yield event
  }
}

/** Of a block every line that matters stands for itself here: the data of our events is one line and names the event, too. */
function sseEvent(line: string): JobEvent | Reconnect | undefined {
  const [, field, value = ''] = /^(data|retry): ?(.*)$/.exec(line) ?? []
  if (field === 'retry' && /^\d+$/.test(value)) return { event: 'reconnect', retryMs: Number(value) }
  return field === 'data' ? jsonEvent(value) : undefined
}

function jsonEvent(line: string): JobEvent | Reconnect | undefined {
  const read = parseJson(line) as JobEvent | Reconnect | { readonly event: 'heartbeat' } | undefined
  return read === undefined || read.event === 'heartbeat' ? undefined : read
}
