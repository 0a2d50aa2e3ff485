/**
 * Requests to the gateway: who we are, how long we wait, what may be repeated. A call is repeated only where a second one can do no harm,
 * or where the first was refused before anything was done.
 */
import { isPassing, isProblem, isRefused, parseJson, problemOf, SpillwayError, unknownAnswer } from './errors.ts'
import { pauseMs, reasonOf, type RetryPolicy, sleep, TimeLimit } from './timing.ts'

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
}

export interface JsonAnswer<T> {
  readonly document: T
  readonly response: Response
}

export interface OpenCall extends RequestInit {
  readonly signal?: AbortSignal
  readonly headMs: number
}

export interface OpenAnswer {
  readonly response: Response
  /** Ends the connection; the body rejects. */
  readonly abort: (reason: Error) => void
  /** Forgets the caller's signal. */
  readonly done: () => void
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
    return await this.#repeated(call.signal, again, async () => (await this.#once<T>(url, call, { headers, ...body })).document)
  }

  /** Reads, or changes what may be changed twice. */
  async jobDocument<T>(call: JobCall): Promise<T> {
    return await this.#repeated(call.signal, isPassing, async () => (await this.jobDocumentOnce<T>(call)).document)
  }

  async jobDocumentOnce<T>(call: JobCall): Promise<JsonAnswer<T>> {
    return await this.#once<T>(call.url, call, {})
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
    return await this.#limited(ms, call.signal, async (signal) => {
      const response = await this.options.fetch(url, { ...init, method: call.method, signal })
      const text = await response.text()
      if (!response.ok) throw problemOf(response, text) ?? unknownAnswer(response, text)
      const document = text === '' ? undefined : parseJson(text)
      if (document === undefined && text !== '') throw unknownAnswer(response, text)
      return { document: document as T, response }
    })
  }

  headers(more: Readonly<Record<string, string>>): Record<string, string> {
    const { token } = this.options
    return token === undefined ? { ...more } : { authorization: `Bearer ${token}`, ...more }
  }

  /** Runs `work` with a signal that is aborted when the time is up, or by the caller. */
  async #limited<T>(ms: number, signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (signal?.aborted === true) throw reasonOf(signal)
    const own = new AbortController()
    const leave = (): void => own.abort(reasonOf(signal as AbortSignal))
    const limit = new TimeLimit(ms, () => own.abort(timedOut(ms)))
    signal?.addEventListener('abort', leave, { once: true })
    try {
      return await work(own.signal)
    } catch (error) {
      throw meaningOf(error, own.signal)
    } finally {
      limit.clear()
      signal?.removeEventListener('abort', leave)
    }
  }

  /** One request, for its head; the body is the caller's, and so is the end of the connection. */
  async open(url: string, call: OpenCall): Promise<OpenAnswer> {
    const { signal, headMs, ...init } = call
    if (signal?.aborted === true) throw reasonOf(signal)
    const own = new AbortController()
    const leave = (): void => own.abort(reasonOf(signal as AbortSignal))
    const done = (): void => signal?.removeEventListener('abort', leave)
    const limit = new TimeLimit(headMs, () => own.abort(timedOut(headMs)))
    signal?.addEventListener('abort', leave, { once: true })
    try {
      const response = await this.options.fetch(url, { ...init, signal: own.signal })
      return { response, abort: (reason) => own.abort(reason), done }
    } catch (error) {
      done()
      throw meaningOf(error, own.signal)
    } finally {
      limit.clear()
    }
  }
}

/** The answer for the caller to read, who may abort as long as it does; after that nothing of it hangs on the caller's signal. */
export function handedOver(answer: OpenAnswer): Response {
  const { response, done } = answer
  const reader = response.body?.getReader()
  if (reader === undefined) {
    done()
    return response
  }
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const piece = await reader.read()
        if (!piece.done) return controller.enqueue(piece.value)
        done()
        controller.close()
      } catch (error) {
        done()
        controller.error(error)
      }
    },
    async cancel(reason) {
      done()
      await reader.cancel(reason)
    },
  })
  const { status, statusText, headers } = response
  return new Response(body, { status, statusText, headers })
}

/** The gateway's own error in an answer; its body is read only where it may be one. The answer that comes back is whole. */
export async function refusalIn(response: Response): Promise<{ readonly refused?: SpillwayError; readonly response: Response }> {
  if (response.ok || !isProblem(response)) return { response }
  const text = await response.text()
  const refused = problemOf(response, text)
  const { status, statusText, headers } = response
  const whole = new Response(text, { status, statusText, headers })
  return refused === undefined ? { response: whole } : { refused, response: whole }
}

/** What a failed fetch means: the caller's own reason, ours, or a connection that broke. */
export function meaningOf(error: unknown, signal: AbortSignal): Error {
  if (error instanceof SpillwayError) return error
  if (signal.aborted) return reasonOf(signal)
  return new SpillwayError('network', `no answer: ${messageOf(error)}`, { cause: error })
}

function timedOut(ms: number): SpillwayError {
  return new SpillwayError('timeout', `no answer within ${ms} ms`)
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  return cause instanceof Error && cause.message !== '' ? `${error.message} (${cause.message})` : error.message
}
