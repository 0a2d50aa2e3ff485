/**
 * The ways to hear of a job: a stream of events, a long poll, a plain poll. All bring the same snapshots; where one does not get through (a
 * proxy that buffers, or refuses) the next one does.
 */
import { retryAfterMsOf, SpillwayError, unknownAnswer } from './errors.ts'
import { type JobEvent, readEvents } from './events.ts'
import { type Http, refusalOf } from './http.ts'
import { isEnded, type JobDocument } from './jobs.ts'
import { pauseMs } from './timing.ts'

export type Way = 'sse' | 'long-poll' | 'poll'

export interface Asked {
  readonly http: Http
  /** The job's address. */
  readonly url: string
  /** Of the gateway's event streams (`jobs.heartbeat`): silence for twice as long means that nothing gets through. */
  readonly heartbeatMs: number
  /** The newest that has been told. */
  readonly last: JobEvent | undefined
  readonly signal: AbortSignal
  readonly told: (event: JobEvent) => void
}

/** Tells what there is, until there is nothing more this time; resolves with the pause before the next time. */
export type Listen = (asked: Asked) => Promise<number>

/** One long poll. */
const HELD_MS = 25_000
/** Between polls, where the gateway does not say. */
const POLL_MS = 2000

export const WAYS: Readonly<Record<Way, Listen>> = {
  sse: stream,
  'long-poll': (asked) => poll(asked, HELD_MS),
  poll: (asked) => poll(asked, 0),
}

async function stream({ http, url, heartbeatMs, signal, told }: Asked): Promise<number> {
  const idleMs = 2 * heartbeatMs
  const answer = await http.open(`${url}/events`, { headers: { accept: 'text/event-stream' }, headMs: idleMs, signal })
  const { response } = answer
  if (response.status !== 200 || response.body === null) {
    throw (await refusalOf(answer)).error
  }
  for await (const event of readEvents(answer, idleMs)) {
    // The gateway shuts down, and says when its successor will be there.
    if (event.event === 'reconnect') return event.retryMs
    told(event)
    if (event.event === 'end') return 0
  }
  throw new SpillwayError('network', 'the stream ended')
}

async function poll({ http, url, last, signal, told }: Asked, longMs: number): Promise<number> {
  const startedAt = performance.now()
  // Held is who has a snapshot to wait for a change of.
  const heldMs = last === undefined ? 0 : longMs
  const headers: Record<string, string> = last === undefined ? {} : { 'if-none-match': `W/"${last.version}"` }
  const query = heldMs === 0 ? '' : `?wait=${heldMs}ms`
  const { document, response } = await http.jobDocumentOnce<JobDocument>({ method: 'GET', url: url + query, heldMs, headers, signal })
  // What anybody else answers with JSON is no news of the job.
  if (response.headers.get('spillway-status') === null) throw unknownAnswer(response, '')
  const now = document === undefined ? last : snapshot(document, response, last)
  if (now !== undefined) told(now)
  const retryAfterMs = retryAfterMsOf(response)
  if (longMs === 0) return retryAfterMs ?? POLL_MS
  // A gateway that stops sends its waiters away with nothing new; whoever was held, or has news, may ask again at once.
  const sentAway = now?.version === last?.version && performance.now() - startedAt < heldMs / 2
  return sentAway ? pauseMs(1, http.options.retry, retryAfterMs) : 0
}

/** Another progress than before, or none any more. */
export function hasMoved(now: JobDocument, last: JobDocument | undefined): boolean {
  return JSON.stringify(now.progress) !== JSON.stringify(last?.progress)
}

/** The same as an event of the stream would be: its version stands in the ETag. */
function snapshot(document: JobDocument, { headers }: Response, last: JobEvent | undefined): JobEvent {
  const version = Number(/"(\d+)/.exec(headers.get('etag') ?? '')?.[1] ?? (last?.version ?? 0) + 1)
  const event = isEnded(document.status) ? 'end' : last !== undefined && hasMoved(document, last) ? 'progress' : 'status'
  return { ...document, event, version }
}
