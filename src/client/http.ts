/** Requests to the addresses of jobs, which hold their own secret: how long we wait, what is repeated. Those of the API are in `api.ts`. */
import { isPassing, isProblem, parseJson, problemOf, type SpillwayError, unknownAnswer } from './errors.ts'
import { handedOver, limited, openAnswer, type OpenAnswer, type OpenCall, withBody } from './open.ts'
import { pauseMs, type RetryPolicy, rest } from './timing.ts'

export interface CallParts {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly signal?: AbortSignal | undefined
  /** How long the gateway may take on purpose: a long poll. */
  readonly heldMs?: number
}

export interface JobCall extends CallParts {
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface JsonAnswer<T> {
  /** Absent: there is none, or the caller has it already (304). */
  readonly document: T | undefined
  readonly response: Response
}

export interface HttpOptions {
  readonly fetch: typeof fetch
  readonly retry: RetryPolicy
  readonly timeoutMs: number
}

export class Http {
  readonly options: HttpOptions

  constructor(options: HttpOptions) {
    this.options = options
  }

  /** Reads, or changes what may be changed twice. */
  async jobDocument<T>(call: JobCall): Promise<T> {
    return await repeated(this.options.retry, call.signal, isPassing, async () => (await this.jobDocumentOnce<T>(call)).document as T)
  }

  async jobDocumentOnce<T>(call: JobCall): Promise<JsonAnswer<T>> {
    return await askOnce<T>(this.options, call.url, call, { ...(call.headers && { headers: call.headers }) })
  }

  /** One request, for its head; the body is the caller's, and so is the end of the connection. */
  async open(url: string, call: OpenCall): Promise<OpenAnswer> {
    return await openAnswer(this.options.fetch, url, call)
  }
}

/** Rejects with `SpillwayError`, or with the reason of the caller's signal. */
export async function repeated<T>(
  retry: RetryPolicy,
  signal: AbortSignal | undefined,
  mayRepeat: (error: unknown) => error is SpillwayError,
  ask: () => Promise<T>,
): Promise<T> {
  for (let failures = 1; ; failures++) {
    try {
      return await ask()
    } catch (error) {
      if (!mayRepeat(error) || failures >= retry.attempts || (error.retryAfterMs ?? 0) > retry.maxMs) throw error
      await rest(pauseMs(failures, retry, error.retryAfterMs), signal)
    }
  }
}

export async function askOnce<T>(
  { fetch, timeoutMs }: HttpOptions,
  url: string,
  call: CallParts,
  init: RequestInit,
): Promise<JsonAnswer<T>> {
  return await limited(timeoutMs + (call.heldMs ?? 0), call.signal, async (signal) => {
    const response = await fetch(url, { ...init, method: call.method, signal })
    const text = await response.text()
    if (response.status === 304) return { document: undefined, response }
    if (!response.ok) throw problemOf(response, text) ?? unknownAnswer(response, text)
    const document = text === '' ? undefined : parseJson(text)
    if (document === undefined && text !== '') throw unknownAnswer(response, text)
    return { document: document as T | undefined, response }
  })
}

/** What an answer that is not the expected one means, and the answer itself, whole. */
export async function refusalOf(answer: OpenAnswer): Promise<{ readonly error: SpillwayError; readonly response: Response }> {
  const { refused, response } = await refusalIn(handedOver(answer))
  return { error: refused ?? unknownAnswer(response, ''), response }
}

/** The gateway's own error in an answer; its body is read only where it may be one. The answer that comes back is whole. */
export async function refusalIn(
  response: Response,
): Promise<{ readonly refused?: SpillwayError | undefined; readonly response: Response }> {
  if (response.ok || !isProblem(response)) return { response }
  const text = await response.text()
  const refused = problemOf(response, text)
  return { refused, response: withBody(response, text) }
}
