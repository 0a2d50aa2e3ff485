/** Reads answers off the wire for tests. Written apart from the gateway's own parser, so that the two cannot share a mistake. */

export interface RawAnswer {
  readonly status: number
  readonly reason: string
  readonly version: string
  /** Name, value, as they came. */
  readonly fields: readonly (readonly [string, string])[]
  readonly body: Buffer
  readonly trailers: readonly (readonly [string, string])[]
  readonly framing: 'none' | 'length' | 'chunked' | 'close'
  /** The body's end was seen. */
  readonly complete: boolean
  header(name: string): string | undefined
  all(name: string): string[]
}

interface Reading {
  readonly methods: readonly string[]
  /** Nothing more will come: ends a body that has no other end. */
  readonly closed: boolean
}

interface Body {
  readonly bytes: Buffer
  readonly trailers: readonly (readonly [string, string])[]
  readonly framing: RawAnswer['framing']
  readonly complete: boolean
  readonly end: number
}

/** Informational answers stand in the list before the final one they precede. */
export function parseAnswers(input: Buffer, { methods, closed }: Reading): RawAnswer[] {
  const answers: RawAnswer[] = []
  let pos = 0
  let finals = 0
  while (pos < input.length) {
    const headEnd = input.indexOf('\r\n\r\n', pos)
    if (headEnd < 0) break
    const [statusLine = '', ...lines] = input.toString('latin1', pos, headEnd).split('\r\n')
    const found = /^(HTTP\/1\.[01]) (\d{3}) ?(.*)$/.exec(statusLine)
    if (found === null) throw new Error(`not a status line: ${JSON.stringify(statusLine)}`)
    const status = Number(found[2])
    const fields = lines.map(fieldOf)
    const method = methods[finals]
    if (method === undefined) throw new Error(`an answer that nobody asked for: ${statusLine}`)
    const body = readBody(input, headEnd + 4, { status, fields, method, closed })
    answers.push({
      status,
      reason: found[3] as string,
      version: found[1] as string,
      fields,
      body: body.bytes,
      trailers: body.trailers,
      framing: body.framing,
      complete: body.complete,
      header: (name) => valuesOf(fields, name)[0],
      all: (name) => valuesOf(fields, name),
    })
    pos = body.end
    if (status >= 200) finals++
    if (status === 101 || !body.complete) break
  }
  return answers
}

function fieldOf(line: string): readonly [string, string] {
  const colon = line.indexOf(':')
  if (colon < 1) throw new Error(`not a field line: ${JSON.stringify(line)}`)
  return [line.slice(0, colon), line.slice(colon + 1).trim()]
}

function valuesOf(fields: readonly (readonly [string, string])[], name: string): string[] {
  return fields.filter(([field]) => field.toLowerCase() === name.toLowerCase()).map(([, value]) => value)
}

interface BodyFacts {
  readonly status: number
  readonly fields: readonly (readonly [string, string])[]
  readonly method: string
  readonly closed: boolean
}

function readBody(input: Buffer, start: number, { status, fields, method, closed }: BodyFacts): Body {
  const none: Body = { bytes: Buffer.alloc(0), trailers: [], framing: 'none', complete: true, end: start }
  if (status < 200 || status === 204 || status === 304 || method === 'HEAD') return none
  const codings = valuesOf(fields, 'transfer-encoding')
  const lengths = valuesOf(fields, 'content-length')
  if (codings.length > 0 && lengths.length > 0) throw new Error('an answer with both framings')
  if (codings.length > 0) return readChunks(input, start)
  if (lengths.length > 1) throw new Error('an answer with two lengths')
  if (lengths.length === 0) return { ...none, bytes: input.subarray(start), framing: 'close', complete: closed, end: input.length }
  const length = Number(lengths[0])
  const end = Math.min(input.length, start + length)
  return { bytes: input.subarray(start, end), trailers: [], framing: 'length', complete: end === start + length, end }
}

function readChunks(input: Buffer, start: number): Body {
  const chunks: Buffer[] = []
  const broken = (): Body => ({ bytes: Buffer.concat(chunks), trailers: [], framing: 'chunked', complete: false, end: input.length })
  let pos = start
  for (;;) {
    const lineEnd = input.indexOf('\r\n', pos)
    if (lineEnd < 0) return broken()
    const line = input.toString('latin1', pos, lineEnd)
    if (!/^[0-9a-f]+$/i.test(line)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`)
    const size = Number.parseInt(line, 16)
    pos = lineEnd + 2
    if (size === 0) break
    chunks.push(input.subarray(pos, pos + size))
    if (input.length < pos + size + 2) return broken()
    if (input.toString('latin1', pos + size, pos + size + 2) !== '\r\n') throw new Error('chunk data does not end in CRLF')
    pos += size + 2
  }
  const trailers: (readonly [string, string])[] = []
  for (;;) {
    const lineEnd = input.indexOf('\r\n', pos)
    if (lineEnd < 0) return broken()
    const line = input.toString('latin1', pos, lineEnd)
    pos = lineEnd + 2
    if (line === '') return { bytes: Buffer.concat(chunks), trailers, framing: 'chunked', complete: true, end: pos }
    trailers.push(fieldOf(line))
  }
}
