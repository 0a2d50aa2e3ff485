/**
 * What a case of the HTTP/1.1 suite is: bytes of a client, bytes of a server, and what each of them must have got. Plain data without
 * test imports: `docs/reference/conformance.md` is made from it.
 */
import type { Pitfall } from './pitfalls.ts'

/** How binding the requirement is. `choice`: the RFC allows several ways, or says nothing, and this one is ours. */
export type Level = 'MUST' | 'SHOULD' | 'choice' | 'departs from a MUST' | 'departs from a SHOULD'

/** One line with this value; these lines, in their order ([]: none); one line whose value fits. */
export type FieldCheck = string | readonly string[] | RegExp
export type FieldChecks = Readonly<Record<string, FieldCheck>>

/** What a client does next. A string is written (latin1). */
export type Step =
  | string
  /** Goes on when it has read this. */
  | { readonly reads: string }
  /** Goes on when a server has read this. */
  | { readonly reached: string }
  /** Says that it will write no more. */
  | { readonly ends: true }
  /** Not the client, the server: it breaks its connection. */
  | { readonly resets: true }
  /** Not the client, the server: it says so much more. */
  | { readonly adds: string }

/** What a server answers with, once it has the whole request. */
export type Reply =
  | string
  | {
      readonly bytes: string
      readonly then?: 'close'
      /** When it has this much of the request. */
      readonly after?: string
    }

/** A request as a server read it. */
export interface Got {
  readonly line?: string
  readonly fields?: FieldChecks
  /** Behind the head, byte for byte, framing and all. */
  readonly body?: string
  /** Text that stands in its head, as it is. */
  readonly head?: string
  /** It never got its end: the connection was closed on it. */
  readonly cut?: true
}

/** An answer as a client read it. */
export interface Answer {
  readonly status?: number
  readonly reason?: string
  readonly fields?: FieldChecks
  readonly trailers?: readonly (readonly [string, string])[]
  readonly body?: string | RegExp
  readonly framing?: 'none' | 'length' | 'chunked' | 'close'
  /** Text that stands in its head, as it is. */
  readonly head?: string
}

/** Which gateway, in front of what. */
export type GatewayKind =
  | 'plain'
  /** Believes what its peers say about where a request came from. */
  | 'trusting'
  /** Has short times for everything. */
  | 'hasty'
  /** Its server refuses connections. */
  | 'deserted'
  /** Has two servers, one slot each. */
  | 'pair'
  /** Has no slot for anybody. */
  | 'full'
  /** POST /jobs becomes a job. */
  | 'queueing'

export interface Case {
  readonly section: string
  readonly level: Level
  /** What is so, in one sentence. */
  readonly title: string
  /** Why, where it is our choice. */
  readonly why?: string
  /** Which of the requirements that are missed most often it is about. */
  readonly pitfall?: Pitfall
  readonly gateway?: GatewayKind
  readonly client: string | readonly Step[]
  /** Of the requests that the client writes, where it is not one that begins with its method. */
  readonly methods?: readonly string[]
  /** The n-th request gets the n-th; the last serves all that follow. */
  readonly server?: Reply | readonly Reply[]
  /** Every request that reached a server, in order. Left out: not looked at. */
  readonly got?: Got | readonly Got[]
  /** Connections to servers that were used, with that of one more request of the client behind the case. */
  readonly connections?: number
  /** Every answer, informational ones included, in order. */
  readonly answer: Answer | readonly Answer[]
  /**
   * How the client's connection ends. Left out: it does not, the next request on it is answered. `broken`: before the answer's end.
   * `reset`: in disorder, which is the sign where there is no other.
   */
  readonly ends?: 'closed' | 'broken' | 'reset' | 'tunnel'
}

/** What the cases of one list have in common is said once. */
export type Row = Omit<Case, 'section' | 'level'>

/** Cases of one section, equally binding. */
export function cases(section: string, level: Level, rows: readonly Row[]): Case[] {
  return rows.map((row) => ({ section, level, ...row }))
}

function problemFields(error: string): FieldChecks {
  return { 'content-type': 'application/problem+json', 'proxy-status': new RegExp(`^spillway; error=${error}`), date: / GMT$/ }
}

/** Refused by the gateway itself: it says so, closes, and nothing reached a server. */
export function refused(status: number, error = 'http_request_error'): Pick<Case, 'answer' | 'got' | 'ends'> {
  return { got: [], answer: { status, fields: { ...problemFields(error), connection: 'close' } }, ends: 'closed' }
}

/** The same for a request whose end is beyond dispute: the connection stays. */
export function declined(status: number, error = 'http_request_error'): Pick<Case, 'answer' | 'got'> {
  return { got: [], answer: { status, fields: { ...problemFields(error), connection: [] } } }
}

/** A request without a body. Field lines without their line ends. */
export function request(line: string, ...fields: readonly string[]): string {
  return `${[`${line} HTTP/1.1`, 'Host: a', ...fields].join('\r\n')}\r\n\r\n`
}

export function get(...fields: readonly string[]): string {
  return request('GET /', ...fields)
}

/** `framing`: its fields about the body. */
export function post(framing: string | readonly string[], body: string): string {
  return request('POST /', ...(typeof framing === 'string' ? [framing] : framing)) + body
}

export function chunked(body: string, ...fields: readonly string[]): string {
  return post(['Transfer-Encoding: chunked', ...fields], body)
}

export function answered(status: string, fields: readonly string[], body = ''): string {
  return `${[`HTTP/1.1 ${status}`, ...fields].join('\r\n')}\r\n\r\n${body}`
}

/** 200 with these fields, and `ok`. */
export function okWith(...fields: readonly string[]): string {
  return answered('200 OK', ['Content-Length: 2', ...fields], 'ok')
}

export const OK_BODY = 'ok'
