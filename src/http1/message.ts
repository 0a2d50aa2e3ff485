/** What a parsed HTTP/1.1 head looks like. Plain data. */

/** Name, value, name, value …: spelling and order as they came. */
export type FlatHeaders = readonly string[]

export interface RequestHead {
  readonly method: string
  /** As it came, in origin-form (an absolute-form target is reduced to it; its authority is then `host`). `*` for OPTIONS. */
  readonly target: string
  /** The target up to `?`, raw. */
  readonly path: string
  /** After `?`, raw, without it; '' when there is none. */
  readonly query: string
  /** HTTP/1.`minor` */
  readonly minor: 0 | 1
  /** Cut out of the text when first asked for. */
  readonly headers: FlatHeaders
  /** The lines that go on, as they came; undefined when `headers` have to be looked at one by one. */
  readonly verbatim: string | undefined
  /** Lower case, with port as it came; '' for an HTTP/1.0 request without Host. */
  readonly host: string
  /** It was asked for as an https URL. */
  readonly https: boolean
  /** Body bytes that follow; -1: chunked. 0: none. */
  readonly bodyLength: number
  readonly keepAlive: boolean
  readonly expectContinue: boolean
  /** All Connection fields, joined; '' without any. */
  readonly connection: string
  /** It came through a proxy. */
  readonly hasVia: boolean
  /** Of W3C Trace Context; '' when there is none that is valid. */
  readonly traceparent: string
  /** Value of Upgrade when Connection lists it (and the method is not the only thing that decides), else ''. */
  readonly upgrade: string
}

export interface ResponseHead {
  readonly status: number
  readonly reason: string
  readonly minor: 0 | 1
  readonly headers: FlatHeaders
  /** See `RequestHead`. */
  readonly verbatim: string | undefined
  readonly hasDate: boolean
  /** `Spillway-*` is among its fields. */
  readonly hasControls: boolean
  /** Body bytes that follow; -1: chunked; -2: until close. Depends on the request's method too. */
  readonly bodyLength: number
  readonly keepAlive: boolean
  readonly connection: string
  /** Seconds from `Keep-Alive: timeout=`, or -1. */
  readonly keepAliveTimeout: number
}

/** First value of a field, or undefined. `lowerName` must be in lower case. */
export function headerValue(headers: FlatHeaders, lowerName: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === lowerName.length && name.toLowerCase() === lowerName) return headers[i + 1]
  }
  return undefined
}

/** Every value of a field, in their order. `lowerName` must be in lower case. */
export function headerValues(headers: FlatHeaders, lowerName: string): string[] {
  const values: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === lowerName.length && name.toLowerCase() === lowerName) values.push(headers[i + 1] as string)
  }
  return values
}
