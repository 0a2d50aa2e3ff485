/**
 * The header of the PROXY protocol, versions 1 (a line of text) and 2 (binary): who the client in front of a proxy is. Read strictly: what is
 * not exactly such a header is refused, since everything behind it would be taken for a request.
 */
import { ipBytes, ipText } from '../../lib/ip.ts'

export interface Endpoint {
  /** An IP address in its canonical text. */
  readonly address: string
  readonly port: number
}

export type ProxyVersion = 'v1' | 'v2'

export type ProxyHeader =
  /** A whole one, of so many bytes. Without addresses: the connection speaks for itself (LOCAL, UNKNOWN, AF_UNIX, AF_UNSPEC). */
  | { readonly kind: 'header'; readonly length: number; readonly source?: Endpoint; readonly destination?: Endpoint }
  /** So far it may become one. */
  | { readonly kind: 'more' }
  | { readonly kind: 'wrong'; readonly why: string }

export interface ProxyRules {
  readonly versions: readonly ProxyVersion[]
  /** Of a whole version 2 header. A version 1 header has at most 107. */
  readonly bytesMax: number
}

/** CR LF NUL CR LF: no text protocol begins like that. */
const SIGNATURE = Uint8Array.of(13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10)
const V1_START = Uint8Array.of(80, 82, 79, 88, 89, 32)
const V1_BYTES_MAX = 107
const V2_FIXED_BYTES = 16
const CR = 13
const LF = 10

const MORE: ProxyHeader = { kind: 'more' }

function wrong(why: string): ProxyHeader {
  return { kind: 'wrong', why }
}

export function readProxyHeader(bytes: Uint8Array, rules: ProxyRules): ProxyHeader {
  if (beginsLike(bytes, SIGNATURE)) {
    if (bytes.length < SIGNATURE.length) return MORE
    return rules.versions.includes('v2') ? readV2(bytes, rules.bytesMax) : wrong('a header of version 2, which is not accepted here')
  }
  if (beginsLike(bytes, V1_START)) {
    if (bytes.length < V1_START.length) return MORE
    return rules.versions.includes('v1') ? readV1(bytes) : wrong('a header of version 1, which is not accepted here')
  }
  return wrong('no PROXY protocol header')
}

/** As far as there is something of it. */
function beginsLike(bytes: Uint8Array, start: Uint8Array): boolean {
  const length = Math.min(bytes.length, start.length)
  for (let i = 0; i < length; i++) if (bytes[i] !== start[i]) return false
  return true
}

// --- version 1

function readV1(bytes: Uint8Array): ProxyHeader {
  const end = bytes.indexOf(LF)
  if (end < 0 && bytes.length < V1_BYTES_MAX) return MORE
  if (end < 0 || end >= V1_BYTES_MAX) return wrong(`a line that is longer than ${V1_BYTES_MAX} bytes`)
  if (bytes[end - 1] !== CR) return wrong('a line that does not end in CRLF')
  const length = end + 1
  const words = String.fromCharCode(...bytes.subarray(V1_START.length, end - 1)).split(' ')
  const [family, from = '', to = '', fromPort = '', toPort = ''] = words
  // What a sender adds to UNKNOWN is to be ignored, says the specification.
  if (family === 'UNKNOWN') return { kind: 'header', length }
  if (family !== 'TCP4' && family !== 'TCP6') return wrong('a protocol that is not TCP4, TCP6 or UNKNOWN')
  if (words.length !== 5) return wrong('a line that has not exactly two addresses and two ports')
  const addressBytes = family === 'TCP4' ? 4 : 16
  const source = v1Endpoint(from, fromPort, addressBytes)
  const destination = v1Endpoint(to, toPort, addressBytes)
  if (source === undefined || destination === undefined) return wrong(`an address or a port that is none of ${family}`)
  return { kind: 'header', length, source, destination }
}

function v1Endpoint(address: string, port: string, addressBytes: 4 | 16): Endpoint | undefined {
  const bytes = ipBytes(address)
  if (bytes?.length !== addressBytes || !/^(?:0|[1-9]\d{0,4})$/.test(port) || Number(port) > 65_535) return undefined
  return { address: ipText(bytes), port: Number(port) }
}

// --- version 2

const LOCAL = 0
const PROXY = 1
/** Address family and transport, as far as they have addresses; bytes of one address. */
const INET_STREAM = 0x11
const INET6_STREAM = 0x21
const ADDRESS_BYTES: Readonly<Record<number, number>> = { [INET_STREAM]: 4, [INET6_STREAM]: 16 }
/** AF_UNSPEC, and AF_UNIX: 108 bytes for each path. */
const WITHOUT_IP: Readonly<Record<number, number>> = { 0x00: 0, 0x31: 216 }

function readV2(bytes: Uint8Array, bytesMax: number): ProxyHeader {
  // What is wrong already need not be waited for.
  const [command, protocol] = [bytes[12], bytes[13]]
  if (command !== undefined && command >> 4 !== 2) return wrong(`version ${command >> 4} behind the signature of version 2`)
  if (command !== undefined && (command & 15) > PROXY) return wrong(`the command ${command & 15}, which is neither LOCAL nor PROXY`)
  if (bytes.length < V2_FIXED_BYTES) return MORE
  const length = V2_FIXED_BYTES + (((bytes[14] as number) << 8) | (bytes[15] as number))
  if (length > bytesMax) return wrong(`a header of ${length} bytes; at most ${bytesMax} are accepted`)
  const isLocal = ((command as number) & 15) === LOCAL
  const needed = isLocal ? 0 : needs(protocol as number)
  if (needed === undefined) return wrong(`the protocol 0x${(protocol as number).toString(16)}, which is no stream`)
  if (length < V2_FIXED_BYTES + needed) return wrong('a header that is too short for its addresses')
  if (bytes.length < length) return MORE
  const addressBytes = isLocal ? undefined : ADDRESS_BYTES[protocol as number]
  if (addressBytes === undefined) return { kind: 'header', length }
  const ports = V2_FIXED_BYTES + 2 * addressBytes
  return {
    kind: 'header',
    length,
    source: v2Endpoint(bytes.subarray(V2_FIXED_BYTES, V2_FIXED_BYTES + addressBytes), bytes.subarray(ports)),
    destination: v2Endpoint(bytes.subarray(V2_FIXED_BYTES + addressBytes, ports), bytes.subarray(ports + 2)),
  }
}

/** Bytes of addresses and ports. */
function needs(protocol: number): number | undefined {
  const address = ADDRESS_BYTES[protocol]
  return address === undefined ? WITHOUT_IP[protocol] : 2 * address + 4
}

function v2Endpoint(address: Uint8Array, port: Uint8Array): Endpoint {
  return { address: ipText(address), port: ((port[0] as number) << 8) | (port[1] as number) }
}

// --- writing

/** `undefined`: a connection of our own, such as a health check. */
export function writeProxyHeader(
  version: ProxyVersion,
  ends: { readonly source: Endpoint; readonly destination: Endpoint } | undefined,
): Uint8Array {
  const [source, destination] = ends === undefined ? [] : sameFamily(ends.source, ends.destination)
  if (version === 'v1') return latin1(v1Line(ends, source, destination))
  if (ends === undefined || source === undefined || destination === undefined) return Uint8Array.of(...SIGNATURE, 0x20, 0, 0, 0)
  const block = [...source, ...destination, ...portBytes(ends.source.port), ...portBytes(ends.destination.port)]
  return Uint8Array.of(...SIGNATURE, 0x21, source.length === 4 ? INET_STREAM : INET6_STREAM, 0, block.length, ...block)
}

function v1Line(
  ends: { readonly source: Endpoint; readonly destination: Endpoint } | undefined,
  source: Uint8Array | undefined,
  destination: Uint8Array | undefined,
): string {
  if (ends === undefined || source === undefined || destination === undefined) return 'PROXY UNKNOWN\r\n'
  const family = source.length === 4 ? 'TCP4' : 'TCP6'
  return `PROXY ${family} ${ipText(source)} ${ipText(destination)} ${ends.source.port} ${ends.destination.port}\r\n`
}

/** A header has one family: where the two differ, IPv4 is written as IPv6. Nothing, where one is no address. */
function sameFamily(one: Endpoint, other: Endpoint): readonly Uint8Array[] {
  const [a, b] = [ipBytes(one.address), ipBytes(other.address)]
  if (a === undefined || b === undefined) return []
  return a.length === b.length ? [a, b] : [asV6(a), asV6(b)]
}

function asV6(bytes: Uint8Array): Uint8Array {
  return bytes.length === 16 ? bytes : Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...bytes)
}

function portBytes(port: number): readonly [number, number] {
  return [port >> 8, port & 255]
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}
