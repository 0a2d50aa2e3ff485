/**
 * `request()`: `fetch` for routes that may answer later. It resolves with the answer, whether that came at once or is the result of a job, and
 * goes on over lost connections and restarts until it is there. What an answer is, it says itself (`Spillway-Job`, `Location`).
 */
import { retryAfterMsOf, SpillwayError } from './errors.ts'
import { FOLLOW, Following, type FollowOptions } from './following.ts'
import { Http } from './http.ts'
import { jobUrlIn, liveJobUrlIn } from './job-url.ts'
import type { JobDocument } from './jobs.ts'
import { newKey } from './new-key.ts'
import { meaningOf } from './open.ts'
import { RequestError } from './request-error.ts'
import { RequestedJob } from './requested-job.ts'
import { durationMs, type Duration, pauseMs, rest, RETRY, type RetryPolicy } from './timing.ts'
import { hasMoved, type Way } from './ways.ts'

export interface FollowInit {
  /** Ends the waiting; the job goes on, unless `cancelOnAbort`. */
  readonly signal?: AbortSignal | null
  readonly cancelOnAbort?: boolean
  /** Another status, or another attempt. */
  readonly onStatus?: (document: JobDocument) => void
  /** What the server reports. */
  readonly onProgress?: (progress: unknown, document: JobDocument) => void
  /** How to hear of the job. Default `auto`: a stream of events, where that does not get through long polls, else polls. */
  readonly transport?: 'auto' | Way
  /** `followFailures`: so often in a row the gateway may fail to answer while a job is followed. Default 100, which takes the better part of an hour. */
  readonly retry?: Partial<RetryPolicy & { readonly followFailures: number }>
  /** The gateway's `jobs.heartbeat`, where it is not 15s. */
  readonly heartbeat?: Duration
  readonly credentials?: 'include' | 'omit' | 'same-origin'
  /** For a job that is bound to who sent it. */
  readonly headers?: RequestInit['headers']
  /** Default: the platform's. */
  readonly fetch?: typeof fetch
}

export interface SpillwayRequestInit extends Omit<RequestInit, keyof FollowInit>, FollowInit {
  /**
   * Under which the request may be sent again after a lost connection and is still done once. Default: one that is made here, for methods
   * that may become jobs. `false`: none; then it is sent once.
   */
  readonly idempotencyKey?: string | false
  /** How long the gateway may hold the request before it answers that it will be done later. `0`: not at all. Default: the route's own. */
  readonly wait?: Duration
}

/** A promise of the answer, and of the job. */
export interface Requested<Job> extends Promise<Response> {
  readonly job: Promise<Job>
}

/** Methods that a route may make jobs of (RFC 9110 has more, but those only read). */
const WRITES: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'DELETE'])
/** Of one question about a job. */
const TIMEOUT_MS = 30_000
const FOLLOW_FAILURES = 100

/** `job`: undefined when the answer came at once; there is one when it is under way. */
export function request(input: string | URL | Request, init: SpillwayRequestInit = {}): Requested<RequestedJob | undefined> {
  const signal = init.signal ?? (input instanceof Request ? input.signal : undefined)
  return requested(init, signal, async () => {
    const asked = requestOf(input, init)
    const options = followOptions(init)
    const response = await send(asked, init, signal)
    const later = jobUrlIn(response, asked.url)
    const url = later ?? liveJobUrlIn(response, asked.url)
    if (url === undefined) return { response }
    const followed = following(url, asked, { init, options })
    if (later === undefined) return { following: followed, response: followed.following.goingOn({ response, abort, done: abort }, signal) }
    await response.body?.cancel()
    return { following: followed }
  })
}

/** Comes back to a job by the address that was kept (`job.url`), after a page was loaded again, say. */
export function follow(url: string | URL, init: FollowInit = {}): Requested<RequestedJob> {
  return requested(init, init.signal ?? undefined, () => {
    const asked = new Request(url, requestInit(init))
    return { following: following(asked.url, asked, { init, options: followOptions(init) }) }
  })
}

/** What ends with the caller's signal needs no other. */
function abort(): void {}

interface Followed {
  readonly job: RequestedJob
  readonly following: Following
}
/** With both it is the job's answer, under way. */
type Begun = { readonly response: Response; readonly following?: Followed } | { readonly response?: never; readonly following: Followed }

function requested<Job extends RequestedJob | undefined>(
  init: FollowInit,
  signal: AbortSignal | undefined,
  begin: () => Begun | Promise<Begun>,
): Requested<Job> {
  // A wrong argument rejects, as with fetch.
  const begun = new Promise<Begun>((resolve) => resolve(begin()))
  const job = begun.then(({ following: followed }) => followed?.job as Job)
  // Whoever does not ask for the job hears of the failure by the answer.
  job.catch(() => undefined)
  const answer = begun.then(async ({ response, following: followed }) => response ?? (await finish(followed, init, signal)))
  return Object.defineProperty(answer, 'job', {
    get() {
      // And whoever asks for it may hear of it by the job alone: a program must not end over an answer that it then does not wait for.
      answer.catch(() => undefined)
      return job
    },
  }) as Requested<Job>
}

async function finish({ job, following: source }: Followed, init: FollowInit, signal: AbortSignal | undefined): Promise<Response> {
  let last: JobDocument | undefined
  try {
    const told = (event: JobDocument): void => {
      if (event.status !== last?.status || event.attempt !== last.attempt) init.onStatus?.(event)
      // A new attempt begins without any: nothing was reported.
      if (event.progress !== undefined && hasMoved(event, last)) init.onProgress?.(event.progress, event)
      last = event
    }
    return await source.result(signal, told)
  } catch (error) {
    if (signal?.aborted === true && init.cancelOnAbort === true) void job.cancel().catch(() => undefined)
    if (!(error instanceof SpillwayError)) throw error
    throw new RequestError(error.code, error.detail, { job, cause: error })
  }
}

/** What `fetch` would make of it, checked as there. */
function requestOf(input: string | URL | Request, init: SpillwayRequestInit): Request {
  const asked = new Request(input, requestInit(init))
  const { headers } = asked
  if (init.wait !== undefined && !headers.has('prefer')) {
    const ms = durationMs(init.wait, 'wait')
    headers.set('prefer', ms === 0 ? 'respond-async' : `wait=${Math.ceil(ms / 1000)}`)
  }
  const { idempotencyKey = headers.get('idempotency-key') ?? (WRITES.has(asked.method) && newKey()) } = init
  if (idempotencyKey !== false) headers.set('idempotency-key', idempotencyKey)
  return asked
}

/** The part that is the platform's. */
function requestInit(init: SpillwayRequestInit): RequestInit {
  return init as RequestInit
}

/** Sent again, with a key, after a lost connection and where it is asked for, not for ever. */
async function send(asked: Request, init: SpillwayRequestInit, signal: AbortSignal | undefined): Promise<Response> {
  const retry = { ...RETRY, ...init.retry }
  // A stream can be read once.
  const attempts = asked.headers.has('idempotency-key') && !(init.body instanceof ReadableStream) ? retry.attempts : 1
  for (let failures = 1; ; failures++) {
    const isLast = failures >= attempts
    let retryAfterMs: number | undefined
    try {
      const response = await (init.fetch ?? fetch)(isLast ? asked : asked.clone(), signal && { signal })
      retryAfterMs = retryAfterMsOf(response)
      if (isLast || !isNotNow(response) || (retryAfterMs ?? 0) > retry.maxMs) return response
      await response.body?.cancel()
    } catch (error) {
      const meaning = meaningOf(error, signal)
      if (!(meaning instanceof SpillwayError)) throw meaning
      if (isLast) throw new RequestError(meaning.code, meaning.detail, { cause: error })
    }
    await rest(pauseMs(failures, retry, retryAfterMs, 0), signal)
  }
}

/** Nothing was done, and it may be asked for again. A job that has ended so stays so, unless it was taken back before it began. */
function isNotNow({ status, headers }: Response): boolean {
  return (status === 429 || status === 503) && (headers.get('spillway-status') ?? 'cancelled') === 'cancelled'
}

/** What a request says about itself; the rest of its headers are about who sends it. */
const ABOUT_THE_REQUEST = /^(accept$|content-|idempotency-key$|if-|prefer$|range$|spillway-)/

/** A job may be bound to who sent it, by whatever header. It goes to where the request went, and nowhere else. */
function identityIn(asked: Request, url: string): Record<string, string> {
  if (new URL(url).origin !== new URL(asked.url).origin) return {}
  return Object.fromEntries([...asked.headers].filter(([name]) => !ABOUT_THE_REQUEST.test(name)))
}

function followOptions({ transport = 'auto', heartbeat = FOLLOW.heartbeatMs, retry }: FollowInit): FollowOptions {
  return {
    ways: transport === 'auto' ? FOLLOW.ways : [transport],
    heartbeatMs: durationMs(heartbeat, 'heartbeat'),
    failuresMax: retry?.followFailures ?? FOLLOW_FAILURES,
  }
}

interface How {
  readonly init: FollowInit
  readonly options: FollowOptions
}

function following(url: string, asked: Request, { init, options }: How): Followed {
  const own = identityIn(asked, url)
  const http = new Http({
    fetch: (input, more) =>
      (init.fetch ?? fetch)(input, { credentials: asked.credentials, ...more, headers: { ...own, ...(more?.headers as object) } }),
    retry: { ...RETRY, ...init.retry },
    timeoutMs: TIMEOUT_MS,
  })
  const source = new Following(http, url, options)
  return { job: new RequestedJob(http, url, source), following: source }
}
