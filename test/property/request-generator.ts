/**
 * Streams of requests for the differential tests: first as clients send them, drawn from a grammar, then spoiled in one to three places,
 * the way attackers, broken clients and broken proxies spoil them. Everything comes from a seeded source, so that a case can be had again.
 */
import type { SeededRandom } from '../support/seeded-random.ts'

export interface RequestStream {
  readonly bytes: Buffer
  /** What was done to it; empty: nothing. */
  readonly spoiled: readonly string[]
}

interface Chunk {
  /** The size line: digits and extensions. */
  size: string
  data: string
}

interface Parts {
  method: string
  target: string
  version: string
  /** `Name: value` */
  fields: string[]
  body: string
  /** Instead of `body`. */
  chunks: Chunk[] | undefined
  trailers: string[]
}

const METHODS = ['GET', 'GET', 'GET', 'POST', 'POST', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS', 'QUERY', 'PROPFIND']
const TARGETS = ['/', '/a', '/a/b?c=d', '/%41?x', '/a//b', '/?a=b?c&d', '/a;p=1', '/!$&()*+,-.:=@_~', '/[x]{y}|z^"<>`', '/*', '//a/b']
const HOSTS = ['a', 'A.example', 'a:80', 'a:', '127.0.0.1:8080', '[::1]:80', 'x-y.z_w', '%41']
const FIELDS = [
  ...['Accept: */*', 'X-A: 1', 'x-a: 2', 'X-Empty:', "X!#$%&'*+-.^_`|~9: tokens", 'Cookie: a=b; c=d', 'X-Text: caf\xe9 \x80\xff'],
  ...['X-Tab: a\tb'],
  ...['Connection: keep-alive', 'Connection: x-a', 'Connection: close', 'Keep-Alive: timeout=5', 'TE: trailers', 'Expect: 100-continue'],
  ...['X-Blanks: \t  a  b \t ', 'X-Tight:a', 'X-Colon: a:b: c', 'Via: 1.1 other', 'Trailer: X-T', 'Upgrade: websocket', 'Date: today'],
]
const TRAILERS = ['X-T: 1', 'x-u:', 'X-V: \t caf\xe9 ']
const EXTENSIONS = [';a', ';a=b', ';a="b c"', ';a=b;c']
/** A body that looks like something else shows at once who read past its end, or not up to it. */
const BODIES = [
  ...['', 'hello', 'x', '\r\n', '\0\x01\xff', '0\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ...['GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n', '\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n', 'b'.repeat(300)],
]
const ODD_LENGTHS = [
  ...['+5', '-5', '-0', '0x5', '05', '5 ', '5\t', ' \t5', '5, 5', '5,6', '5 5', '', '5.0', '5e0', '4294967301', '18446744073709551621'],
  ...['00000000000000000005', '1_0', '\xb2', '5;', '"5"', '9007199254740993', '5\0', '5\x0b', 'five'],
]
const ODD_CODINGS = [
  ...['chunked ', 'chunked\t', 'CHUNKED', 'Chunked', ' \tchunked', 'chunked, chunked', 'gzip, chunked', 'chunked, gzip', 'identity', ''],
  ...['xchunked', 'chunkedx', 'chunked;q=1', '"chunked"', ',chunked', 'chunked,', 'chunked, identity', '\x0bchunked', 'chunked\0'],
  ...['chu nked'],
  ...['identity, chunked', 'gzip', 'chunked\x0c', 'chunked , chunked'],
]
const ODD_SIZES = [
  ...['0x5', '+5', '-5', ' 5', '5 ', '5\t', '05', '000000000000000005', '5_', '', 'g', '5;', '5; ', '5;a b', '5;=b', '5 ;a', '5;a='],
  ...['5;a="b'],
  ...['5;\xe9', '5;a=b\0', '10000000000000005', 'ffffffffffffffff', 'A', 'a', '5.0', '5,', '5;a=b;', '5;a;;b', '5;"a"', '5;a= b', '5;a\tb'],
]
const ODD_TARGETS = [
  ...['*', '', 'a', '?a', '#', '/a#b', '/a b', '/\0', '/\x7f', '/\xe9', '/\t', '/\\', 'a:80', 'http://u', 'http://u/', 'http://u:80/x?y'],
  ...['HTTP://U/a'],
  ...['https://u?q', 'http://', 'http:///a', 'http://u@v/', 'http://u:p/', 'http://[::1]/a', 'ftp://u/', 'http:/u', 'http://u#f'],
  ...['://u/', 'http://u:80:80/'],
  ...['http://u/../a', 'http://u,v/', 'http://u%2fv/', 'http://u/http://v/', 'http://u?http://v'],
]
const ODD_HOSTS = ['', 'a b', 'a/b', 'a,b', 'u@a', 'a:b', '[::1', 'a:80:80', 'a\0', '\xe9', 'a#', "a'b", 'a;b', '[::1]x', 'a:123456', 'a\t']
const ODD_METHODS = [
  'get',
  'G',
  'FOO',
  'GET\0',
  'G ET',
  '',
  '"GET"',
  'M-SEARCH',
  'PRI',
  'CONNECT',
  'TRACE',
  'GETX',
  'G\xc9T',
  'X'.repeat(33),
]
const ODD_VERSIONS = [
  ...['HTTP/1.0', 'HTTP/1.0', 'HTTP/0.9', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/1.10', 'HTTP/11', 'HTTP/1,1', 'HTTP/1.1 ', 'ICE/1.0'],
]
const ODD_FIELDS = [
  ...['X', ': y', 'X : y', 'X\t: y', ' X: y', '\tX: y', 'X Y: z', 'X\0: y', 'X: \0', 'X: a\x01b', 'X: a\x7fb', '\xe9: y', 'X(: y'],
  ...['X: a\x0bb', ''],
  ...['X: y\r\n z', 'X: y\r\n\tz', 'X:\r\n y', 'X: y\rZ: w', 'X: y\nZ: w', 'X: y\r\r\nZ: w', 'Content-Length : 5'],
  ...['Transfer-Encoding : chunked'],
  ...['Connection: close, x', 'Connection: x, close', 'Connection: CLOSE', 'Connection: close x', 'Connection:close\t'],
  ...['Connection: keep-alive, close'],
  ...['Connection: , close', 'Connection: "close"', 'Connection: closed', 'Proxy-Connection: close', 'Connection: upgrade'],
  ...['Connection: Upgrade, close'],
  ...['Expect: x', 'Expect: 100-Continue', 'Host: b', 'Content_Length: 5', 'Transfer_Encoding: chunked', 'Content-Length:5'],
  ...['Transfer-Encoding:chunked'],
]
const LINE_ENDS = ['\n', '\r', '\r\r\n', '\n\r', '\r\n\r\n', '\n\n', '', ' \r\n', '\r\n ', '\r\n\t', '\r\n\0', '\r \n', '\x0b\r\n', '\x85']
const ODD_BYTES = Array.from('\0\x01\t\n\x0b\r \x22#,/0:;=A[_\x7f\x80\x85\xa0\xff')

function makeParts(random: SeededRandom): Parts {
  const method = random.pick(METHODS)
  const fields = [`Host: ${random.pick(HOSTS)}`]
  const more = random.integer(4)
  for (let i = 0; i < more; i++) {
    const field = random.pick(FIELDS)
    if (!fields.includes(field)) fields.splice(random.integer(fields.length + 1), 0, field)
  }
  const parts: Parts = { method, target: random.pick(TARGETS), version: 'HTTP/1.1', fields, body: '', chunks: undefined, trailers: [] }
  const withBody = random.chance(method.startsWith('P') ? 0.9 : 0.15)
  if (withBody) addBody(parts, random)
  return parts
}

function addBody(parts: Parts, random: SeededRandom): void {
  const body = random.pick(BODIES)
  const at = random.integer(parts.fields.length + 1)
  if (random.chance(0.5)) {
    parts.body = body
    parts.fields.splice(at, 0, `Content-Length: ${body.length}`)
    return
  }
  parts.fields.splice(at, 0, 'Transfer-Encoding: chunked')
  parts.chunks = []
  for (let from = 0; from < body.length; ) {
    const data = body.slice(from, from + 1 + random.integer(body.length - from))
    const size = data.length.toString(16)
    parts.chunks.push({ size: random.chance(0.1) ? size + random.pick(EXTENSIONS) : size, data })
    from += data.length
  }
  parts.chunks.push({ size: '0', data: '' })
  if (random.chance(0.2)) parts.trailers = [random.pick(TRAILERS), random.pick(TRAILERS)].slice(random.integer(2))
}

function render(parts: Parts): string {
  const { method, target, version, fields, body, chunks, trailers } = parts
  let text = `${method} ${target} ${version}\r\n`
  for (const field of fields) text += `${field}\r\n`
  text += `\r\n${body}`
  if (chunks === undefined) return text
  for (const { size, data } of chunks) text += data === '' ? `${size}\r\n` : `${size}\r\n${data}\r\n`
  for (const trailer of trailers) text += `${trailer}\r\n`
  return `${text}\r\n`
}

// --- spoiling what is said

type Spoil = (parts: Parts, random: SeededRandom) => void

function setField(parts: Parts, name: string, value: string): void {
  const at = parts.fields.findIndex((field) => field.toLowerCase().startsWith(`${name.toLowerCase()}:`))
  if (at < 0) parts.fields.push(`${name}: ${value}`)
  else parts.fields[at] = `${name}: ${value}`
}

function insertField(parts: Parts, field: string, random: SeededRandom): void {
  parts.fields.splice(random.integer(parts.fields.length + 1), 0, field)
}

function framingField(random: SeededRandom): string {
  if (random.chance(0.5)) return `Content-Length: ${random.chance(0.5) ? random.integer(8) : random.pick(ODD_LENGTHS)}`
  return `Transfer-Encoding: ${random.chance(0.5) ? 'chunked' : random.pick(ODD_CODINGS)}`
}

function someChunk(parts: Parts, random: SeededRandom): Chunk {
  if (parts.chunks === undefined || parts.chunks.length === 0) {
    parts.body = ''
    parts.fields = parts.fields.filter((field) => !field.startsWith('Content-Length'))
    setField(parts, 'Transfer-Encoding', 'chunked')
    parts.chunks = [
      { size: '5', data: 'hello' },
      { size: '0', data: '' },
    ]
  }
  return random.pick(parts.chunks)
}

const SPOILS: Readonly<Record<string, Spoil>> = {
  'odd method': (parts, random) => (parts.method = random.pick(ODD_METHODS)),
  'odd target': (parts, random) => (parts.target = random.pick(ODD_TARGETS)),
  'odd target for OPTIONS': (parts, random) => {
    parts.method = 'OPTIONS'
    parts.target = random.pick(ODD_TARGETS)
  },
  'odd version': (parts, random) => (parts.version = random.pick(ODD_VERSIONS)),
  'HTTP/1.0': (parts, random) => {
    parts.version = 'HTTP/1.0'
    if (random.chance(0.5)) insertField(parts, 'Connection: keep-alive', random)
  },
  'odd host': (parts, random) => setField(parts, 'Host', random.pick(ODD_HOSTS)),
  'odd field': (parts, random) => insertField(parts, random.pick(ODD_FIELDS), random),
  'odd field, too': (parts, random) => insertField(parts, random.pick(ODD_FIELDS), random),
  'a second framing field': (parts, random) => insertField(parts, framingField(random), random),
  'odd length': (parts, random) => {
    parts.chunks = undefined
    parts.body = 'hello'
    parts.fields = parts.fields.filter((field) => !field.startsWith('Transfer-Encoding'))
    setField(parts, 'Content-Length', random.pick(ODD_LENGTHS))
  },
  'odd coding': (parts, random) => {
    someChunk(parts, random)
    setField(parts, 'Transfer-Encoding', random.pick(ODD_CODINGS))
  },
  'a length that is a little off': (parts, random) => setField(parts, 'Content-Length', `${parts.body.length + random.pick([-1, 1, 2])}`),
  'a field twice': (parts, random) => insertField(parts, random.pick(['X: y', ...parts.fields]), random),
  'a field less': (parts, random) => parts.fields.splice(random.integer(parts.fields.length), 1),
  'an upgrade': (parts, random) => {
    insertField(parts, 'Upgrade: websocket', random)
    insertField(parts, random.pick(['Connection: Upgrade', 'Connection: x-a, upgrade', 'Proxy-Connection: upgrade']), random)
  },
  'odd chunk size': (parts, random) => (someChunk(parts, random).size = random.pick(ODD_SIZES)),
  'a chunk that is a little off': (parts, random) => {
    const chunk = someChunk(parts, random)
    chunk.size = Math.max(0, chunk.data.length + random.pick([-1, 1])).toString(16)
  },
  'odd trailer': (parts, random) => {
    someChunk(parts, random)
    parts.trailers.push(random.pick([...ODD_FIELDS, 'Content-Length: 5', 'Transfer-Encoding: chunked', 'Host: b']))
  },
  'no last chunk': (parts, random) => {
    someChunk(parts, random)
    parts.chunks?.pop()
  },
}

// --- spoiling bytes

type SpoilText = (text: string, random: SeededRandom) => string

function replaceAt(text: string, at: number, length: number, by: string): string {
  return text.slice(0, at) + by + text.slice(at + length)
}

function oddByte(random: SeededRandom): string {
  return random.chance(0.5) ? random.pick(ODD_BYTES) : String.fromCharCode(random.integer(256))
}

const TEXT_SPOILS: Readonly<Record<string, SpoilText>> = {
  'another line end': otherLineEnd,
  'another line end, too': otherLineEnd,
  'a bit flipped': (text, random) => {
    const at = random.integer(text.length)
    return replaceAt(text, at, 1, String.fromCharCode(text.charCodeAt(at) ^ (1 << random.integer(8))))
  },
  'another byte': (text, random) => replaceAt(text, random.integer(text.length), 1, oddByte(random)),
  'a byte more': (text, random) => replaceAt(text, random.integer(text.length + 1), 0, oddByte(random)),
  'a byte less': (text, random) => replaceAt(text, random.integer(text.length), 1, ''),
  'a blank doubled': (text, random) => {
    const at = text.indexOf(' ', random.integer(text.length))
    return at < 0 ? text : replaceAt(text, at, 1, random.pick(['  ', '\t', ' \t', '']))
  },
  'a piece twice': (text, random) => {
    const at = random.integer(text.length)
    return replaceAt(text, at, 0, text.slice(at, at + 1 + random.integer(20)))
  },
  'a piece less': (text, random) => replaceAt(text, random.integer(text.length), 1 + random.integer(20), ''),
  'the end missing': (text, random) => text.slice(0, random.integer(text.length)),
  'something before it': (text, random) => random.pick(['\r\n', '\n', '\r', '\r\n\r\n', ' ', '\0', '\r\n ']) + text,
  'something behind it': (text, random) => text + random.pick(['\r\n', '\n', '\r', '\r\n\r\n', ' ', '\0', 'x', '0\r\n\r\n']),
}

function otherLineEnd(text: string, random: SeededRandom): string {
  const ends = [...text.matchAll(/\r\n/g)].map(({ index }) => index)
  return ends.length === 0 ? text : replaceAt(text, random.pick(ends), 2, random.pick(LINE_ENDS))
}

const SPOIL_NAMES = Object.keys(SPOILS)
const TEXT_SPOIL_NAMES = Object.keys(TEXT_SPOILS)

/** One to three requests on a connection; about a third of the streams is left as it is. */
export function makeStream(random: SeededRandom): RequestStream {
  const requests = Array.from({ length: random.pick([1, 1, 1, 2, 2, 3]) }, () => makeParts(random))
  const spoiled: string[] = []
  const times = random.pick([0, 0, 1, 1, 2, 3])
  let textTimes = 0
  for (let i = 0; i < times; i++) {
    if (random.chance(0.4)) {
      textTimes++
      continue
    }
    const name = random.pick(SPOIL_NAMES)
    SPOILS[name]?.(random.pick(requests), random)
    spoiled.push(name)
  }
  let text = requests.map(render).join('')
  for (let i = 0; i < textTimes && text !== ''; i++) {
    const name = random.pick(TEXT_SPOIL_NAMES)
    text = TEXT_SPOILS[name]?.(text, random) ?? text
    spoiled.push(name)
  }
  return { bytes: Buffer.from(text, 'latin1'), spoiled }
}

/** As the network might deliver it: whole, in a few pieces, or byte by byte. */
export function cutUp(bytes: Buffer, random: SeededRandom): Buffer[] {
  const kind = random.integer(10)
  if (kind < 4) return [bytes]
  const pieces: Buffer[] = []
  for (let from = 0; from < bytes.length; ) {
    const to = kind === 9 ? from + 1 : from + 1 + random.integer(random.pick([3, 40, 200]))
    pieces.push(bytes.subarray(from, to))
    from = to
  }
  return pieces
}
