/**
 * The name that a client asks for, read from its ClientHello before the handshake begins (RFC 8446, section 4.1.2; RFC 6066, section 3): so the
 * handshake begins with the certificates for that name, and with no others. Nothing else is judged here; TLS does that, of the same bytes.
 */

export type ClientHello =
  | { readonly kind: 'hello'; readonly serverName?: string }
  | { readonly kind: 'more' }
  /** No TLS, or nothing that a handshake could begin with. */
  | { readonly kind: 'wrong'; readonly why: string }

/** The largest that clients send, with post-quantum keys, are a tenth of it. */
export const CLIENT_HELLO_BYTES_MAX = 16 * 1024

const HANDSHAKE_RECORD = 22
const RECORD_HEADER_BYTES = 5
const RECORD_BYTES_MAX = 16 * 1024
/** Nobody needs more than two; each one costs us more than it costs the client. */
const RECORDS_MAX = 64
const CLIENT_HELLO = 1
const SERVER_NAME = 0
const HOST_NAME = 0
const HTTP_START = /^[A-Z]{1,20} /

const MORE: ClientHello = { kind: 'more' }

export function readClientHello(bytes: Uint8Array): ClientHello {
  const message = handshakeBytes(bytes)
  if (!(message instanceof Uint8Array)) return message
  if (message.length > 0 && message[0] !== CLIENT_HELLO) return { kind: 'wrong', why: 'the handshake does not begin with a ClientHello' }
  if (message.length < 4) return MORE
  const length = ((message[1] as number) << 16) | ((message[2] as number) << 8) | (message[3] as number)
  if (length > CLIENT_HELLO_BYTES_MAX)
    return { kind: 'wrong', why: `a ClientHello of ${length} bytes; at most ${CLIENT_HELLO_BYTES_MAX} are read` }
  if (message.length < 4 + length) return MORE
  const serverName = nameIn(new Reader(message.subarray(4, 4 + length)))
  return serverName === undefined ? { kind: 'hello' } : { kind: 'hello', serverName }
}

/** What the records that have arrived hold. A message may be cut into several, wherever the client likes. */
function handshakeBytes(bytes: Uint8Array): Uint8Array | ClientHello {
  const pieces: Uint8Array[] = []
  let at = 0
  while (at < bytes.length) {
    if (bytes[at] !== HANDSHAKE_RECORD)
      return at === 0 ? noTls(bytes) : { kind: 'wrong', why: 'another record in the middle of the ClientHello' }
    if (bytes.length > at + 1 && bytes[at + 1] !== 3) return { kind: 'wrong', why: 'the client does not speak TLS' }
    if (bytes.length < at + RECORD_HEADER_BYTES) break
    const length = ((bytes[at + 3] as number) << 8) | (bytes[at + 4] as number)
    if (length === 0 || length > RECORD_BYTES_MAX) return { kind: 'wrong', why: `a record of ${length} bytes` }
    if (pieces.length === RECORDS_MAX) return { kind: 'wrong', why: `a ClientHello in more than ${RECORDS_MAX} records` }
    pieces.push(bytes.subarray(at + RECORD_HEADER_BYTES, at + RECORD_HEADER_BYTES + length))
    at += RECORD_HEADER_BYTES + length
  }
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : joined(pieces)
}

function noTls(bytes: Uint8Array): ClientHello {
  const text = String.fromCharCode(...bytes.subarray(0, 24))
  return { kind: 'wrong', why: HTTP_START.test(text) ? 'the client speaks plain HTTP' : 'the client does not speak TLS' }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

/** Where the message is damaged there is no name: TLS refuses it, and says how. */
function nameIn(hello: Reader): string | undefined {
  hello.skip(2 + 32)
  hello.skip(hello.number(1))
  hello.skip(hello.number(2))
  hello.skip(hello.number(1))
  const extensions = hello.part(hello.number(2))
  while (extensions.left > 0) {
    const type = extensions.number(2)
    const extension = extensions.part(extensions.number(2))
    if (type !== SERVER_NAME) continue
    const names = extension.part(extension.number(2))
    while (names.left > 0) {
      const kind = names.number(1)
      const name = names.part(names.number(2))
      if (kind === HOST_NAME) return name.text()
    }
  }
  return undefined
}

/** Never past the end: what is not there is nothing. */
class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  skip(count: number): void {
    this.#at = Math.min(this.#bytes.length, this.#at + count)
  }

  number(bytes: 1 | 2): number {
    const [high = 0, low = 0] = this.#bytes.subarray(this.#at, this.#at + bytes)
    this.skip(bytes)
    return bytes === 1 ? high : (high << 8) | low
  }

  part(count: number): Reader {
    const from = this.#at
    this.skip(count)
    return new Reader(this.#bytes.subarray(from, this.#at))
  }

  /** Names are ASCII; what is not is in no certificate. Undefined: nothing. */
  text(): string | undefined {
    return this.left === 0 ? undefined : String.fromCharCode(...this.#bytes.subarray(this.#at))
  }
}
