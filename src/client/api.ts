/**
 * Calls of the API: who we are, what may be repeated. A call is repeated only where a second one can do no harm, or where the first was refused
 * before anything was done.
 */
import { isPassing, isRefused } from './errors.ts'
import { askOnce, type CallParts, Http, type HttpOptions, repeated } from './http.ts'

/** `safe`: also when no answer came, because a second time changes nothing. `refused`: only when the gateway said that it did nothing. */
export type Repeat = 'safe' | 'refused'

export interface ApiCall extends CallParts {
  /** Below the API's address, encoded. */
  readonly path: string
  readonly body?: unknown
  /** Instead of `body`: JSON that is text already. */
  readonly bodyText?: string
  readonly repeat: Repeat
}

export interface ApiAccess {
  /** Without a slash at its end. */
  readonly apiUrl: string
  readonly token: string | undefined
}

/** Apart from `Http`, so that a page that only sends requests does not load it. */
export class Api extends Http {
  readonly #access: ApiAccess

  constructor(access: ApiAccess, options: HttpOptions) {
    super(options)
    this.#access = access
  }

  /** One call, repeated where that is safe. Rejects with `SpillwayError`, or with the reason of the caller's signal. */
  async json<T>(call: ApiCall): Promise<T> {
    const text = call.bodyText ?? (call.body === undefined ? undefined : JSON.stringify(call.body))
    const body = text === undefined ? {} : { body: text }
    const headers = this.headers(text === undefined ? {} : { 'content-type': 'application/json' })
    const url = this.urlOf(call.path)
    const again = call.repeat === 'safe' ? isPassing : isRefused
    const ask = async (): Promise<T> => (await askOnce<T>(this.options, url, call, { headers, ...body })).document as T
    return await repeated(this.options.retry, call.signal, again, ask)
  }

  urlOf(path: string): string {
    return `${this.#access.apiUrl}${path}`
  }

  headers(more: Readonly<Record<string, string>>): Record<string, string> {
    const { token } = this.#access
    return token === undefined ? { ...more } : { authorization: `Bearer ${token}`, ...more }
  }
}
