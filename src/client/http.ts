/**
 * Requests to the gateway: who we are, how long we wait, what may be repeated. A call is repeated only where a second one can do no harm,
 * or where the first was refused before anything was done.
 */
import { isPassing, isProblem, isRefused, parseJson, problemOf, type SpillwayError, unknownAnswer } from './errors.ts'
import { limited, openAnswer, type OpenAnswer, type OpenCall, withBody } from './open.ts'
import { pauseMs, type RetryPolicy, sleep } from './timing.ts'

/** `safe`: also when no answer came, because a second time changes nothing. `refused`: only when the gateway said that it did nothing. */
export type Repeat = 'safe' | 'refused'

interface CallParts {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly signal?: AbortSignal | undefined
  /** How long the gateway may take on purpose: a long poll. */
  readonly heldMs?: number
}

/** A call of the API. */
export interface ApiCall extends CallParts {
  /** Below the API's address, encoded. */
  readonly path: string
  readonly body?: unknown
  /** Instead of `body`: JSON that is text already. */
  readonly bodyText?: string
  readonly repeat: Repeat
}

/** A request to the address of a job, which holds its own secret. */
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
  /** Without a slash at its end. */
  readonly apiUrl: string
  readonly token: string | undefined
  readonly fetch: typeof fetch
  readonly retry: RetryPolicy
  readonly timeoutMs: number
}

export class Http {
  readonly options: HttpOptions

  constructor(options: HttpOptions) {
    this.options = options
  }

  /** One call of the API, repeated where that is safe. Rejects with `SpillwayError`, or with the reason of the caller's signal. */
  async json<T>(call: ApiCall): Promise<T> {
    const text = call.bodyText ?? (call.body === undefined ? undefined : JSON.stringify(call.body))
    const body = text === undefined ? {} : { body: text }
    const headers = this.headers(text === undefined ? {} : { 'content-type': 'application/json' })
    const url = `${this.options.apiUrl}${call.path}`
    const again = call.repeat === 'safe' ? isPassing : isRefused
    return await this.#repeated(call.signal, again, async () => (await this.#once<T>(url, call, { headers, ...body })).document as T)
  }

  /** Reads, or changes what may be changed twice. */
  async jobDocument<T>(call: JobCall): Promise<T> {
    return await this.#repeated(call.signal, isPassing, async () => (await this.jobDocumentOnce<T>(call)).document as T)
  }

  async jobDocumentOnce<T>(call: JobCall): Promise<JsonAnswer<T>> {
    return await this.#once<T>(call.url, call, call.headers === undefined ? {} : { headers: call.headers })
  }

  async #repeated<T>(
    signal: AbortSignal | undefined,
    mayRepeat: (error: unknown) => error is SpillwayError,
    ask: () => Promise<T>,
  ): Promise<T> {
    const { retry } = this.options
    for (let failures = 1; ; failures++) {
      try {
        return await ask()
      } catch (error) {
        if (!mayRepeat(error) || failures >= retry.attempts || (error.retryAfterMs ?? 0) > retry.maxMs) throw error
        await sleep(pauseMs(failures, retry, error.retryAfterMs), signal)
      }
    }
  }

  async #once<T>(url: string, call: CallParts, init: RequestInit): Promise<JsonAnswer<T>> {
    const ms = this.options.timeoutMs + (call.heldMs ?? 0)
    return await limited(ms, call.signal, async (signal) => {
      const response = await this.options.fetch(url, { ...init, method: call.method, signal })
      const text = await response.text()
      if (response.status === 304) return { document: undefined, response }
      if (!response.ok) throw problemOf(response, text) ?? unknownAnswer(response, text)
      const document = text === '' ? undefined : parseJson(text)
      if (document === undefined && text !== '') throw unknownAnswer(response, text)
      return { document: document as T | undefined, response }
    })
  }

  headers(more: Readonly<Record<string, string>>): Record<string, string> {
    const { token } = this.options
    return token === undefined ? { ...more } : { authorization: `Bearer ${token}`, ...more }
  }

  /** One request, for its head; the body is the caller's, and so is the end of the connection. */
  async open(url: string, call: OpenCall): Promise<OpenAnswer> {
    return await openAnswer(this.options.fetch, url, call)
  }
}

/** The gateway's own error in an answer; its body is read only where it may be one. The answer that comes back is whole. */
export async function refusalIn(response: Response): Promise<{ readonly refused?: SpillwayError; readonly response: Response }> {
  if (response.ok || !isProblem(response)) return { response }
  const text = await response.text()
  const refused = problemOf(response, text)
  const whole = withBody(response, text)
  return refused === undefined ? { response: whole } : { refused, response: whole }
}
