/**
 * What a job looks like where one is written down: in a call of the queue API, in a schedule of the configuration. Checks it and says, to the
 * field, what is wrong. Written by hand, because it is on the path of every job that is sent: one pass over the fields, no copies.
 */
import { isMapping } from '../../lib/mapping.ts'
import { nearest } from '../../lib/nearest.ts'
import type { Bytes, Millis } from '../../lib/units.ts'
import { parseDuration } from '../../lib/duration.ts'
import { type UrlPattern, wrongCallback } from '../webhooks/urls.ts'
import { checkPath } from '../routing/check-path.ts'
import {
  ATTEMPTS_MAX,
  DELAY_MAX_MS,
  IDEMPOTENCY_KEY_LENGTH_MAX,
  KEY_LENGTH_MAX,
  REFERENCE_LENGTH_MAX,
  TENANT_LENGTH_MAX,
} from './limits.ts'
import { type Then, thenOf } from './then.ts'

export interface JobDocument {
  /** `json`: any value; `text` and `base64`: a text, of which the latter stands for bytes. */
  bodyKind: 'none' | 'json' | 'text' | 'base64'
  body: unknown
  contentType: string | undefined
  /** Name, value, name, value …, without the content type. */
  headers: readonly string[]
  method: string
  target: string
  key: string | undefined
  tenant: string | undefined
  priority: number
  reference: string | undefined
  delayMs: Millis | undefined
  expireAfterMs: Millis | undefined
  deadlineMs: Millis | undefined
  attempts: number | undefined
  idempotencyKey: string | undefined
  /** Not yet completed by the route that it names. */
  then: Then | undefined
  /** Where the end is told of. */
  callback: string | undefined
}

/** `path`: within the document, empty for the document itself. */
export interface Wrong {
  readonly path: string
  readonly wrong: string
}

export interface DocumentLimits {
  /** All headers together, and the target. */
  readonly headBytesMax: Bytes
  readonly headersMax: number
  readonly targetBytesMax: Bytes
  /** Those of ours may be there, for somebody else to look at. */
  readonly clientHeaders?: boolean
  /** What a callback may name. Absent: there are no callbacks. */
  readonly callbacks?: readonly UrlPattern[] | undefined
}

const FIELDS = [
  ...['payload', 'text', 'base64', 'contentType', 'headers', 'method', 'target', 'key', 'tenant', 'priority', 'reference'],
  ...['delay', 'expireAfter', 'deadline', 'attempts', 'idempotencyKey', 'then', 'callback'],
]
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** Visible ASCII, as in a request line, without a fragment. */
const TARGET = /^\/[!"$-~]*$/
/** What a field's value may hold (RFC 9110, section 5.5), in Latin-1. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
/** A name or an address, and a port (RFC 3986, section 3.2). A server that gets two, or half of a URL, is free to choose. */
const HOST = /^(?:[\w.~%!$&'()*+,;=-]+|\[[\da-fA-F:.]+\])(?::\d{1,5})?$/
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/
const METHOD_LENGTH_MAX = 32
const CONTENT_TYPE_LENGTH_MAX = 255
/** Said anew by whoever sends the request, or not for servers. */
const NOT_PASSED_ON: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'expect'],
])
/** Can be repeated neither by name nor in substance. */
const NEVER_JOBS: ReadonlySet<string> = new Set(['HEAD', 'OPTIONS', 'CONNECT', 'TRACE'])

export function isWrong(read: object): read is Wrong {
  return 'wrong' in read
}

export function wrongText(at: string, { path, wrong }: Wrong): string {
  const where = path === '' ? at : at === '' ? path : path.startsWith('[') ? `${at}${path}` : `${at}.${path}`
  return where === '' ? wrong : `${where}: ${wrong}`
}

export function readJobDocument(value: unknown, limits: DocumentLimits): JobDocument | Wrong {
  if (!isMapping(value)) return { path: '', wrong: 'a job is an object, such as { "payload": { } }' }
  const job: JobDocument = {
    bodyKind: 'none',
    body: undefined,
    contentType: undefined,
    headers: NO_HEADERS,
    method: 'POST',
    target: '/',
    key: undefined,
    tenant: undefined,
    priority: 0,
    reference: undefined,
    delayMs: undefined,
    expireAfterMs: undefined,
    deadlineMs: undefined,
    attempts: undefined,
    idempotencyKey: undefined,
    then: undefined,
    callback: undefined,
  }
  for (const name in value) {
    const wrong = readField(job, name, value[name], limits)
    if (wrong !== undefined) return typeof wrong === 'string' ? { path: name, wrong } : wrong
  }
  return job
}

const NO_HEADERS: readonly string[] = []

type Field = string | Wrong | undefined

/** Gives what is wrong. */
function readField(job: JobDocument, name: string, value: unknown, limits: DocumentLimits): Field {
  switch (name) {
    case 'payload':
      return takeBody(job, 'json', value)
    case 'text':
      if (typeof value !== 'string') return 'must be a text'
      return value.isWellFormed() ? takeBody(job, 'text', value) : 'has half of a surrogate pair, which has no UTF-8'
    case 'base64':
      return typeof value === 'string' && isBase64(value) ? takeBody(job, 'base64', value) : 'must be bytes in base64 (RFC 4648, section 4)'
    case 'contentType':
      if (typeof value !== 'string' || !isBetween(value, CONTENT_TYPE_LENGTH_MAX) || !VALUE.test(value))
        return `must be a media type of at most ${CONTENT_TYPE_LENGTH_MAX} characters`
      job.contentType = value
      return undefined
    case 'headers':
      return readHeaders(job, value, limits)
    case 'method':
      if (typeof value !== 'string' || value.length > METHOD_LENGTH_MAX || !TOKEN.test(value)) return 'must be an HTTP method'
      // Methods are told apart by case, but not by every server.
      if (NEVER_JOBS.has(value.toUpperCase())) return `${value} can never become a job`
      job.method = value
      return undefined
    case 'target':
      return readTarget(job, value, limits)
    case 'delay':
      job.delayMs = readDuration(value)
      return job.delayMs === undefined || job.delayMs > DELAY_MAX_MS ? `${DURATION}, at most 366d` : undefined
    case 'expireAfter':
      job.expireAfterMs = readDuration(value)
      return isSpan(job.expireAfterMs) ? undefined : `${DURATION}, more than 0 and at most 366d`
    case 'deadline':
      job.deadlineMs = readDuration(value)
      return isSpan(job.deadlineMs) ? undefined : `${DURATION}, more than 0 and at most 366d`
    case 'then': {
      const then = readThen(value, limits)
      if (isWrong(then)) return { path: then.path === '' ? 'then' : `then.${then.path}`, wrong: then.wrong }
      job.then = then
      return undefined
    }
    case 'callback':
      return readCallback(job, value, limits)
    default:
      return readSmallField(job, name, value)
  }
}

/** Where a result is sent on to: a name, or an object with what is to be sent there beside the result. */
export function readThen(value: unknown, limits: DocumentLimits): Then | Wrong {
  if (typeof value === 'string') return thenOf(value)
  if (!isMapping(value)) return { path: '', wrong: 'must be a queue, a route such as "POST /translate", or an object that names one' }
  const { queue, route, ...request } = value
  for (const name in request) {
    if (!THEN_FIELDS.includes(name)) return { path: name, wrong: noSuchField(name, ['queue', 'route', ...THEN_FIELDS]) }
  }
  if ((queue === undefined) === (route === undefined)) return { path: '', wrong: 'names either a queue or a route' }
  if (typeof (queue ?? route) !== 'string') return { path: queue === undefined ? 'route' : 'queue', wrong: 'must be a name' }
  const read = readJobDocument(request, limits)
  if (isWrong(read)) return read
  const type = read.contentType === undefined ? [] : ['Content-Type', read.contentType]
  const headers = [...read.headers, ...type]
  return {
    ...(queue === undefined ? { route: route as string } : { queue: queue as string }),
    ...('method' in request && { method: read.method }),
    ...('target' in request && { target: read.target }),
    ...(headers.length > 0 && { headers }),
  }
}

const THEN_FIELDS: readonly string[] = ['method', 'target', 'headers']

function readSmallField(job: JobDocument, name: string, value: unknown): Field {
  switch (name) {
    case 'key':
      if (!isText(value, KEY_LENGTH_MAX)) return textOf(KEY_LENGTH_MAX)
      job.key = value
      return undefined
    case 'tenant':
      if (!isText(value, TENANT_LENGTH_MAX)) return textOf(TENANT_LENGTH_MAX)
      job.tenant = value
      return undefined
    case 'reference':
      if (!isText(value, REFERENCE_LENGTH_MAX)) return textOf(REFERENCE_LENGTH_MAX)
      job.reference = value
      return undefined
    case 'idempotencyKey':
      if (!isText(value, IDEMPOTENCY_KEY_LENGTH_MAX)) return textOf(IDEMPOTENCY_KEY_LENGTH_MAX)
      job.idempotencyKey = value
      return undefined
    case 'priority':
      if (!isCount(value, 0, 9)) return 'must be a whole number from 0 to 9'
      job.priority = value
      return undefined
    case 'attempts':
      if (!isCount(value, 1, ATTEMPTS_MAX)) return `must be a whole number from 1 to ${ATTEMPTS_MAX}`
      job.attempts = value
      return undefined
    case 'exported':
      // What `spillway jobs export` tells of the job that it was: for people.
      return undefined
    default:
      return noSuchField(name, FIELDS)
  }
}

function noSuchField(name: string, fields: readonly string[]): string {
  const near = nearest(name, fields)
  return `there is no such field${near === undefined ? '' : ` (did you mean ${near}?)`}`
}

function takeBody(job: JobDocument, kind: JobDocument['bodyKind'], body: unknown): Field {
  if (job.bodyKind !== 'none') return 'a job has one of payload, text and base64'
  job.bodyKind = kind
  job.body = body
  return undefined
}

function readCallback(job: JobDocument, value: unknown, { callbacks }: DocumentLimits): Field {
  if (callbacks === undefined) return 'needs webhooks.callbacks in the configuration, which says what it may name'
  if (typeof value !== 'string') return 'must be a URL'
  job.callback = value
  return wrongCallback(value, callbacks)
}

function readTarget(job: JobDocument, value: unknown, limits: DocumentLimits): Field {
  if (typeof value !== 'string' || !TARGET.test(value)) return 'must be a path, with a query where it has one, such as /reports?v=2'
  if (value.length > limits.targetBytesMax) return `is longer than ${limits.targetBytesMax} bytes (limits.target)`
  const query = value.indexOf('?')
  const refused = checkPath(query < 0 ? value : value.slice(0, query))
  if (refused !== undefined) return refused.detail
  job.target = value
  return undefined
}

function readHeaders(job: JobDocument, value: unknown, limits: DocumentLimits): Field {
  if (!isMapping(value)) return 'must be an object of texts and lists of texts'
  const headers: string[] = []
  let bytes = 0
  for (const name in value) {
    const wrong = readHeader(headers, name, value[name], limits)
    if (wrong !== undefined) return { path: `headers[${JSON.stringify(name.slice(0, 64))}]`, wrong }
  }
  for (const part of headers) bytes += part.length + 2
  if (bytes > limits.headBytesMax) return `are more than ${limits.headBytesMax} bytes (limits.head)`
  if (headers.length / 2 > limits.headersMax) return `are more than ${limits.headersMax} (limits.headers)`
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] as string).toLowerCase() === 'content-type') job.contentType ??= headers[i + 1] as string
    else kept.push(headers[i] as string, headers[i + 1] as string)
  }
  job.headers = kept
  return undefined
}

function readHeader(headers: string[], name: string, value: unknown, { clientHeaders = false }: DocumentLimits): string | undefined {
  if (!TOKEN.test(name)) return 'is no header name'
  const lower = name.toLowerCase()
  const ours = lower.replaceAll('_', '-').startsWith('spillway-')
  if (NOT_PASSED_ON.has(lower) || (ours && !clientHeaders)) return 'is not passed on to servers; leave it out'
  const values: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (lower === 'host' && (typeof value !== 'string' || !HOST.test(value)))
    return 'must be one name, such as api.example or api.example:8080'
  if (lower === 'host' && headers.some((given, i) => i % 2 === 0 && given.toLowerCase() === 'host')) return 'stands there twice'
  for (const one of values) {
    if (typeof one !== 'string' || !VALUE.test(one)) return 'must be a text of printable Latin-1, or a list of such'
    headers.push(name, one.trim())
  }
  return undefined
}

const DURATION = 'must be a duration such as "30s", or milliseconds as a number'

/** Undefined: it is none. */
export function readDuration(value: unknown): Millis | undefined {
  if (typeof value === 'string') return parseDuration(value)
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined
}

function isSpan(value: Millis | undefined): boolean {
  return value !== undefined && value > 0 && value <= DELAY_MAX_MS
}

function isBase64(text: string): boolean {
  if (!BASE64.test(text)) return false
  const digits = text.endsWith('==') ? text.length - 2 : text.endsWith('=') ? text.length - 1 : text.length
  return digits % 4 !== 1 && (digits === text.length || text.length % 4 === 0)
}

export function isCount(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
}

function isText(value: unknown, max: number): value is string {
  return typeof value === 'string' && isBetween(value, max) && value.isWellFormed()
}

function isBetween(value: string, max: number): boolean {
  return value.length >= 1 && value.length <= max
}

function textOf(max: number): string {
  return `must be a text of 1 to ${max} characters`
}
