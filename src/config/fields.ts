/** The kinds of values that configuration keys have: how they are written, checked, and turned into what the program reads. */
import { isIP } from 'node:net'
import { createSecureContext } from 'node:tls'
import * as z from 'zod'
import { parsePattern } from '../core/routing/pattern.ts'
import { parseUrlPattern, type UrlPattern, wrongEndpointUrl } from '../core/webhooks/urls.ts'
import { parseDuration } from '../lib/duration.ts'
import { hostPortText } from '../lib/host-port.ts'
import { parsePercent } from '../lib/percent.ts'
import { parseRate } from '../lib/rate.ts'
import { parseSize } from '../lib/size.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { BalanceSource, HostPort, BindSource, KeySource, ServerConfig, StoreKey } from './config.ts'

export const NAME: RegExp = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/
/** A token of RFC 9110: header names, methods, pseudonyms. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const HOST = /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$/

/** Shows a value in a message, shortly. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  if (value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  return typeof value === 'object' ? 'a mapping' : `a ${typeof value}`
}

/** What a text means, or what is wrong with it. */
export type Reading<T> = { readonly value: T } | { readonly wrong: string }

/** `title` is the type that the reference page shows; `pattern` is for editors, by the JSON Schema. */
type Meta = { readonly title: string; readonly pattern?: string }

/** A field that is written as text. `expected` is said of a value of another type. */
export function textField<T>(read: (text: string) => Reading<T>, meta: Meta, expected?: string) {
  const base = z.string({
    error: ({ input }) => (input === undefined || expected === undefined ? undefined : `must be ${expected}, not ${shown(input)}`),
  })
  return base
    .transform((text, context): T => {
      const reading = read(text)
      if ('value' in reading) return reading.value
      context.addIssue({ code: 'custom', message: reading.wrong })
      return z.NEVER
    })
    .meta(meta)
}

/** For parsers that know only yes or no. */
function simpleField<T>(parse: (text: string) => T | undefined, expected: string, meta: Meta) {
  return textField(readingOf(parse, expected), meta, expected)
}

function durationField(parse: (text: string) => Millis | undefined, expected: string, meta: Meta) {
  const read = readingOf(parse, expected)
  const bounded = (text: string): Reading<Millis> => {
    const reading = read(text)
    const tooLong = 'value' in reading && Number.isFinite(reading.value) && reading.value > DURATION_MAX_MS
    return tooLong ? { wrong: `must be at most 3650d, not ${shown(text)}` } : reading
  }
  return textField(bounded, meta, expected)
}

function durationTextField(expected: string) {
  const read = readingOf(parseSpan, expected)
  return textField(
    (text): Reading<string> => {
      const reading = read(text)
      return 'wrong' in reading ? reading : { value: text }
    },
    { title: 'duration', pattern: DURATION_FORM },
    expected,
  )
}

function readingOf<T>(parse: (text: string) => T | undefined, expected: string): (text: string) => Reading<T> {
  return (text) => {
    const value = parse(text)
    return value === undefined ? { wrong: `must be ${expected}, not ${shown(text)}` } : { value }
  }
}

/** For text that stays as it is, or as `normalise` makes it, when it has the form. */
function formed(pattern: RegExp, normalise: (text: string) => string = (text) => text) {
  return (text: string): string | undefined => (pattern.test(text) ? normalise(text) : undefined)
}

const DURATION = 'a duration such as 500ms, 2s, 5m, 1h or 14d'
const DURATION_FORM = '^\\d+(ms|s|m|h|d)$'
const SIZE = 'a size such as 512B, 64KiB, 1MiB or 10GiB'
const SIZE_FORM = '^\\d+(B|KiB|MiB|GiB)$'

/** Ten years: far more than makes sense, and still every date and sum made of it is exact. */
const DURATION_MAX_MS: Millis = 3650 * 86_400_000

const parseSpan = (text: string): Millis | undefined => parseDuration(text) || undefined
const parseCapacity = (text: string): Bytes | undefined => parseSize(text) || undefined

const SPAN_OR = `${DURATION}, more than 0, or`

export const duration = durationField(parseDuration, DURATION, { title: 'duration', pattern: DURATION_FORM })
/** A duration above zero. */
export const span = durationField(parseSpan, `${DURATION}, more than 0`, { title: 'duration', pattern: DURATION_FORM })
/** Infinity stands for never. */
export const spanOrNever = durationField(orWord(parseSpan, 'never', Number.POSITIVE_INFINITY), `${SPAN_OR} never`, {
  title: 'duration or `never`',
})
/** 0 stands for none. */
export const spanOrNone = durationField(orWord(parseSpan, 'none', 0), `${SPAN_OR} none`, { title: 'duration or `none`' })
export const size = simpleField(parseCapacity, `${SIZE}, more than 0`, { title: 'size', pattern: SIZE_FORM })
/** 0 stands for unlimited. */
export const sizeOrUnlimited = simpleField(orWord(parseCapacity, 'unlimited', 0), `${SIZE}, more than 0, or unlimited`, {
  title: 'size or `unlimited`',
})

function orWord(parse: (text: string) => number | undefined, word: string, meaning: number): (text: string) => number | undefined {
  return (text) => (text === word ? meaning : parse(text))
}

/** A duration above zero, checked but kept as text. */
export const spanText = durationTextField(`${DURATION}, more than 0`)
export const rate = simpleField(parseRate, 'a rate such as 100/s, 10/1m or 5000/1h', {
  title: 'rate',
  pattern: '^\\d+/\\d*(ms|s|m|h|d)$',
})

/** From 0 to 1. */
export const percent = simpleField(parsePercent, 'a share such as 20%', { title: 'share', pattern: '^\\d+(\\.\\d+)?%$' })
/** More than nothing. */
export const share = simpleField((text) => parsePercent(text) || undefined, 'a share such as 20%, more than 0%', {
  title: 'share',
  pattern: '^\\d+(\\.\\d+)?%$',
})
/** From 0.5 up to, but not including, 1. */
export const quantile = simpleField(parseQuantile, 'a quantile such as p95, from p50 to p99.9', {
  title: 'quantile',
  pattern: '^p[5-9]\\d(\\.\\d)?$',
})
export const off = z.literal('off')

function parseQuantile(text: string): number | undefined {
  const digits = /^p([5-9]\d(?:\.\d)?)$/.exec(text)?.[1]
  return digits === undefined ? undefined : Number((Number(digits) / 100).toFixed(3))
}

export const count = (min: number, max: number): z.ZodInt => z.int().min(min).max(max)

export const address = simpleField(parseAddress, 'an address with a port, such as 127.0.0.1:8080 or "[::1]:8080"', {
  title: 'address',
})

function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  return port <= 65_535 ? port : undefined
}

function parseAddress(text: string): HostPort | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text)
  const port = parsePort(match?.[3] ?? '')
  const [v6, host] = [match?.[1], match?.[2]]
  if (port === undefined) return undefined
  if (v6 !== undefined) return isIP(v6) === 6 ? { host: v6, port } : undefined
  return host !== undefined && isHost(host) ? { host, port } : undefined
}

/** A name or an IPv4 address; something like 1.2.3.400 is neither. */
function isHost(host: string): boolean {
  return /^[\d.]+$/.test(host) ? isIP(host) === 4 : HOST.test(host)
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** The address of a server, and its name. */
export function readServerUrl(text: string): Reading<Omit<ServerConfig, 'weight'>> {
  const wrong = `must be a URL such as http://127.0.0.1:3000, not ${shown(text)}`
  const match = /^http(s?):\/\/([^/?#@]*)([/?#].*)?$/i.exec(text)
  if (match === null) return { wrong }
  const rest = match[3] ?? '/'
  const tls = match[1] !== ''
  if (rest !== '/') return { wrong: `a server's URL ends after its port, requests keep their own path; leave out ${shown(rest)}` }
  const authority = (match[2] as string).toLowerCase()
  const parsed = parseAddress(/:\d+$/.test(authority) ? authority : `${authority}:${tls ? 443 : 80}`)
  if (parsed === undefined || parsed.port === 0) return { wrong }
  const name = hostPortText(parsed)
  return { value: { name, host: parsed.host, port: parsed.port, ...(tls && { tls: { name: parsed.host } }) } }
}

export const serverUrl = textField(readServerUrl, { title: 'URL' })

const KEY_KINDS = ['header', 'path', 'query', 'cookie', 'json'] as const
const KEY_FORMS = 'header:<name>, path:<parameter>, query:<name>, cookie:<name> or json:<pointer>'

function readKey(text: string): Reading<KeySource> {
  const at = text.indexOf(':')
  const from = KEY_KINDS.find((kind) => kind === text.slice(0, at))
  const name = text.slice(at + 1)
  if (from === undefined || name === '') return { wrong: `must be ${KEY_FORMS}, not ${shown(text)}` }
  if ((from === 'header' || from === 'cookie') && !TOKEN.test(name)) return { wrong: `${shown(name)} is no ${from} name` }
  if (from === 'json' && !/^(\/([^~]|~[01])*)+$/.test(name))
    return { wrong: `${shown(name)} is no JSON pointer; write it as in json:/customer/id` }
  return { value: { from, name: from === 'header' ? name.toLowerCase() : name } }
}

function readBind(text: string): Reading<BindSource> {
  const read = readKey(text)
  if ('wrong' in read)
    return /^(header|cookie):/.test(text) ? read : { wrong: `must be header:<name> or cookie:<name>, not ${shown(text)}` }
  const { from, name } = read.value
  if (from === 'header' || from === 'cookie') return { value: { from, name } }
  return { wrong: `must be header:<name> or cookie:<name>, not ${shown(text)}` }
}

function readBalance(text: string): Reading<BalanceSource> {
  if (text === 'address') return { value: { from: 'address', name: '' } }
  if (text === 'path') return { value: { from: 'target', name: '' } }
  const read = readKey(text)
  if ('value' in read && read.value.from !== 'json') return { value: { ...read.value, from: read.value.from } }
  if ('wrong' in read && /^(header|cookie):/.test(text)) return read
  return { wrong: `must be address, path, header:<name>, cookie:<name>, query:<name> or path:<parameter>, not ${shown(text)}` }
}

export const balanceSource = textField(readBalance, { title: 'what binds a request' })

export const bindSource = textField(readBind, { title: 'header or cookie' })

export const keySource = textField(readKey, { title: 'key source' })

export const jsonPointer = simpleField(formed(/^(\/([^~/]|~[01])*)*$/), 'a JSON pointer (RFC 6901) such as /order/type', {
  title: 'JSON pointer',
})

const upper = (text: string): string => text.toUpperCase()
const lower = (text: string): string => text.toLowerCase()

export const method = simpleField(formed(TOKEN, upper), 'an HTTP method', { title: 'HTTP method' })
export const headerName = simpleField(formed(TOKEN, lower), 'a header name', { title: 'header name' })
export const cookieName = simpleField(formed(TOKEN), 'the name of a cookie', { title: 'cookie name' })
export const cookiePath = simpleField(formed(/^\/[!-:<-~]*$/), 'a path such as /, without a semicolon', { title: 'path' })
export const pseudonym = simpleField(formed(NAME), 'a name of letters, digits, "-", "_" or "."', { title: 'name' })
export const origin = simpleField(
  formed(/^(\*|[a-z][a-z0-9+.-]*:\/\/[^/?#\s]+)$/),
  'an origin such as https://app.example.com, without a path, or *',
  { title: 'origin' },
)
export const matchHost = simpleField(
  formed(/^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$|^\[[0-9A-Fa-f:.]+\]$/, lower),
  'a host name without a port, or *. and one',
  { title: 'host' },
)
export const rewrittenHost = simpleField(
  formed(/^([A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?$/),
  'a host name, with a port or without',
  { title: 'host' },
)
export const publicUrl = simpleField(
  formed(/^https?:\/\/[^/?#\s]+(\/[^?#\s]*)?$/, (text) => text.replace(/\/+$/, '')),
  'a URL such as https://api.example.com',
  { title: 'URL' },
)
/** Path and query of a request that we send ourselves. */
export const target = simpleField(formed(/^\/[!-~]*$/), 'a path such as /healthz', { title: 'path' })
export const jobsPath = simpleField(
  formed(/^(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._~-]+)+$/),
  'a path of plain segments without a slash at its end, such as /_spillway',
  { title: 'path' },
)
export const network = simpleField(parseNetwork, 'an address or a network such as 10.0.0.0/8', { title: 'address or network' })

export const file = z.string().min(1).meta({ title: 'file' })

/** What stands in a certificate, or an address. */
export const serverName = simpleField((text) => (isHost(text) || isIP(text) !== 0 ? text.toLowerCase() : undefined), 'the name of a host', {
  title: 'host',
})

/** Asked of OpenSSL: it knows what it can do. */
export const ciphers = simpleField(
  (text) => {
    try {
      createSecureContext({ ciphers: text })
      return text
    } catch {
      return undefined
    }
  },
  'names of ciphers as OpenSSL writes them, such as ECDHE-ECDSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256',
  { title: 'ciphers' },
)

export const networkOrHost = simpleField(
  (text) => (isHost(text) ? text.toLowerCase() : parseNetwork(text)),
  'an address, a network such as 10.0.0.0/8, or the name of a host',
  { title: 'address, network or host' },
)

/** Of an endpoint: with parameters still in braces. */
export const webhookUrl = textField(
  (text): Reading<string> => {
    const wrong = wrongEndpointUrl(text)
    // It may hold a password where it must not.
    return wrong === undefined ? { value: text } : { wrong: `${shown(text.replace(/\/\/[^/?#]*@/, '//***@'))} ${wrong}` }
  },
  { title: 'URL' },
)

export const urlPattern = textField(
  (text): Reading<UrlPattern> => {
    const pattern = parseUrlPattern(text)
    return typeof pattern === 'string' ? { wrong: `${shown(text)} ${pattern}` } : { value: pattern }
  },
  { title: 'URL pattern' },
)

function parseNetwork(text: string): string | undefined {
  const [ip = '', bits, ...more] = text.split('/')
  const family = isIP(ip)
  if (family === 0 || more.length > 0) return undefined
  if (bits === undefined) return text
  return /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128) ? text : undefined
}

/** A route's path: checked, but kept as text. */
function readPath(text: string): Reading<string> {
  const pattern = parsePattern(text)
  return typeof pattern === 'string' ? { wrong: pattern } : { value: text }
}

export const pathPattern = textField(readPath, { title: 'path' })

/** `POST /reports`, `GET,HEAD /x`, `/x`: methods and path of a match in one. */
export interface MatchText {
  readonly methods: readonly string[] | undefined
  readonly path: string
}

function readMatch(text: string): Reading<MatchText> {
  const match = /^(?:(\S+) +)?(\/\S*)$/.exec(text)
  if (match === null) return { wrong: `must be a path, or methods and a path, such as POST /reports, not ${shown(text)}` }
  const methods = match[1]?.split(',').map(upper)
  const wrong = methods?.find((name) => !TOKEN.test(name))
  if (wrong !== undefined) return { wrong: `${shown(wrong)} is no HTTP method` }
  const path = readPath(match[2] as string)
  return 'value' in path ? { value: { methods, path: path.value } } : path
}

export const name = z
  .string()
  .regex(NAME, { error: 'a name is 1 to 64 letters, digits, "-", "_" or ".", and begins with a letter or digit' })

export const queuePattern = simpleField(
  formed(/^([A-Za-z0-9][A-Za-z0-9_.-]{0,63}\*?|\*)$/),
  'the name of a queue, with * at its end, or *',
  {
    title: 'queue name, with `*` at its end where it stands for several',
  },
)

/** Read by those who make jobs of it; here it is only known to be plain data. */
export const jobDocument = z.record(z.string(), z.unknown()).meta({ title: 'job' })

const SECRET_BYTES = 32

/** Says nothing of what it read: it is a secret. */
function readStoreSecret(text: string): Reading<StoreKey['secret']> {
  const hex = /^[0-9a-f]{64}$/i.test(text)
  const base64 = /^[A-Za-z0-9+/_-]{43}=?$/.test(text)
  if (!hex && !base64)
    return { wrong: `must be ${SECRET_BYTES} random bytes in base64 or hex; make them with: openssl rand -base64 ${SECRET_BYTES}` }
  return { value: new Uint8Array(Buffer.from(text, hex ? 'hex' : 'base64')) }
}

export const storeSecret = textField(readStoreSecret, { title: '32 bytes in base64 or hex' })

const SIGNING_BYTES_MIN = 24

/** Says nothing of what it read: it is a secret. */
function readSigningSecret(text: string): Reading<Uint8Array> {
  const encoded = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text)?.[1]
  if (encoded === undefined && text.startsWith('whsec_')) return { wrong: 'must be base64 after whsec_' }
  const secret = new Uint8Array(encoded === undefined ? Buffer.from(text) : Buffer.from(encoded, 'base64'))
  if (secret.length >= SIGNING_BYTES_MIN) return { value: secret }
  return { wrong: `must have at least ${SIGNING_BYTES_MIN} bytes; make one with: echo whsec_$(openssl rand -base64 32)` }
}

export const signingSecret = textField(readSigningSecret, { title: 'whsec_ and base64, or text' })
/** Says nothing of what it read: it is a secret. The bytes of an Ed25519 key are its seed, or seed and public key. */
function readWebhookSecret(text: string): Reading<string> {
  const [, kind, digits = ''] = /^(whsec|whsk)_([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? []
  const bytes = Buffer.from(digits, 'base64')
  // Decoding leaves out what it does not understand.
  const exact = bytes.toString('base64').replace(/=+$/, '') === digits.replace(/=+$/, '')
  const good =
    exact && (kind === 'whsk' ? bytes.length === 32 || bytes.length === 64 : kind === 'whsec' && bytes.length >= 24 && bytes.length <= 64)
  if (good) return { value: text }
  return { wrong: 'must be whsec_ and 24 to 64 random bytes in base64; make them with: echo "whsec_$(openssl rand -base64 32)"' }
}

export const webhookSecret = textField(readWebhookSecret, { title: 'webhook secret' })

export const matchText = textField(readMatch, { title: 'match' })

/** `2xx`, `200-299` or `204`, as from and to. */
export const statusRange = simpleField(readStatusRange, 'a status such as 204, 200-299 or 2xx', {
  title: 'status',
  pattern: '^([1-5]xx|[1-5]\\d\\d(-[1-5]\\d\\d)?)$',
})

function readStatusRange(text: string): readonly [from: number, to: number] | undefined {
  const [, hundred, from, to = from] = /^(?:([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?)$/.exec(text) ?? []
  if (hundred !== undefined) return [Number(hundred) * 100, Number(hundred) * 100 + 99]
  return from === undefined || Number(to) < Number(from) ? undefined : [Number(from), Number(to)]
}

export const headerValue = simpleField(formed(/^[\t\x20-\x7e]*$/), 'a header value of printable ASCII', { title: 'header value' })
