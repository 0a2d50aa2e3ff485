/**
 * Which addresses a webhook may be sent to. A URL that somebody else chose must not reach what only this machine can reach, so only global
 * unicast addresses are taken, and of others those that the operator allows. Special ranges by the IANA registries (RFC 6890). Pure: who connects
 * asks for the very address that it connects to, after names were resolved.
 */

/** 4 bytes or 16. */
export type Address = readonly number[]

export interface Network {
  readonly address: Address
  readonly bits: number
}

/** What may be reached although it is not global. */
export interface AllowList {
  readonly networks: readonly Network[]
  /** In lower case: whatever these names resolve to. */
  readonly hosts: ReadonlySet<string>
}

const V4_BITS = 32
const V6_BITS = 128

/** Undefined: it is none. A zone (`%eth0`) is left out. */
export function parseAddress(text: string): Address | undefined {
  return text.includes(':') ? parseV6(text.split('%', 1)[0] as string) : parseV4(text)
}

function parseV4(text: string): Address | undefined {
  if (!/^(?:(?:0|[1-9]\d{0,2})(?:\.(?!$)|$)){4}$/.test(text)) return undefined
  const bytes = text.split('.').map(Number)
  return bytes.every((byte) => byte <= 255) ? bytes : undefined
}

/** RFC 4291, section 2.2. */
function parseV6(text: string): Address | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head, tail] = halves.map((half, i) => groupsOf(half, i === halves.length - 1))
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined
  if (tail === undefined) return head.length === 16 ? head : undefined
  const missing = 16 - head.length - tail.length
  return missing >= 2 ? [...head, ...new Array<number>(missing).fill(0), ...tail] : undefined
}

/** Groups of four digits as bytes; the last may be an IPv4 address. */
function groupsOf(half: string, isLast: boolean): number[] | undefined {
  if (half === '') return []
  const groups = half.split(':')
  const bytes: number[] = []
  for (const [i, group] of groups.entries()) {
    if (isLast && i === groups.length - 1 && group.includes('.')) {
      const v4 = parseV4(group)
      if (v4 === undefined) return undefined
      bytes.push(...v4)
      continue
    }
    if (!/^[\da-f]{1,4}$/i.test(group)) return undefined
    const value = Number.parseInt(group, 16)
    bytes.push(value >> 8, value & 0xff)
  }
  return bytes.length <= 16 ? bytes : undefined
}

/** An address stands for itself. Undefined: it is neither. */
export function parseNetwork(text: string): Network | undefined {
  const [ip = '', length, ...more] = text.split('/')
  const address = ip.includes('%') ? undefined : parseAddress(ip)
  if (address === undefined || more.length > 0) return undefined
  const most = address.length * 8
  if (length === undefined) return { address, bits: most }
  return /^\d{1,3}$/.test(length) && Number(length) <= most ? { address, bits: Number(length) } : undefined
}

/** Texts that are neither an address nor a network are names of hosts. */
export function readAllowList(entries: readonly string[]): AllowList {
  const networks: Network[] = []
  const hosts = new Set<string>()
  for (const entry of entries) {
    const network = parseNetwork(entry)
    if (network === undefined) hosts.add(entry.toLowerCase())
    else networks.push(network)
  }
  return { networks, hosts }
}

function isIn({ address: network, bits }: Network, address: Address): boolean {
  if (network.length !== address.length) return false
  const whole = bits >> 3
  for (let i = 0; i < whole; i++) if (network[i] !== address[i]) return false
  const rest = bits & 7
  return rest === 0 || ((network[whole] as number) ^ (address[whole] as number)) >> (8 - rest) === 0
}

function networksOf(...texts: readonly string[]): readonly Network[] {
  return texts.map((text) => parseNetwork(text) as Network)
}

/** Where clouds tell a machine its secrets. Some lie in ranges that are otherwise allowed, so an allowed range does not open them. */
const METADATA = networksOf(
  ...['169.254.169.254', '169.254.170.2', '169.254.170.23', '100.100.100.200', '168.63.129.16', '192.0.0.192'],
  ...['fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254'],
)

const LOOPBACK = networksOf('127.0.0.0/8', '::1')

const SPECIAL: readonly (readonly [what: string, networks: readonly Network[]])[] = [
  ['a loopback address', LOOPBACK],
  ['a private address', networksOf('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fec0::/10')],
  ['a link-local address', networksOf('169.254.0.0/16', 'fe80::/10')],
  ["an address of a provider's own network", networksOf('100.64.0.0/10')],
  ['no address of a host', networksOf('0.0.0.0/8', '::')],
  ['a multicast address', networksOf('224.0.0.0/4', 'ff00::/8')],
  ['an address for documentation', networksOf('192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32', '3fff::/20')],
  ['a reserved address', networksOf('192.0.0.0/24', '192.88.99.0/24', '198.18.0.0/15', '240.0.0.0/4', '2001::/23')],
]

/** Where an IPv6 address holds an IPv4 one: from which byte on. Whoever takes the packet may unwrap it. */
const EMBEDDINGS: readonly (readonly [network: Network, at: number, inverted: boolean])[] = [
  ...networksOf('::ffff:0:0/96', '::ffff:0:0:0/96', '::/96', '64:ff9b::/96').map((network) => [network, 12, false] as const),
  [networksOf('2002::/16')[0] as Network, 2, false],
  // Teredo (RFC 4380): the server, and the client with its bits turned over.
  [networksOf('2001::/32')[0] as Network, 4, false],
  [networksOf('2001::/32')[0] as Network, 12, true],
]

const GLOBAL_V6 = networksOf('2000::/3')[0] as Network

function embeddedIn(address: Address): readonly Address[] {
  if (address.length === 4) return []
  return EMBEDDINGS.filter(([network]) => isIn(network, address)).map(([, at, inverted]) =>
    address.slice(at, at + 4).map((byte) => (inverted ? byte ^ 0xff : byte)),
  )
}

export function isLoopbackAddress(text: string): boolean {
  const address = parseAddress(text)
  return address !== undefined && LOOPBACK.some((network) => isIn(network, address))
}

/** Why it must not be reached; undefined: it may. `host`: the name in the URL. */
export function refusedAddress(text: string, host: string, allow: AllowList): string | undefined {
  const address = parseAddress(text)
  if (address === undefined) return 'no IP address'
  return refused(address, allow.hosts.has(host.toLowerCase().replace(/\.$/, '')), allow)
}

function refused(address: Address, hostIsAllowed: boolean, allow: AllowList): string | undefined {
  const allowing = allow.networks.filter((network) => isIn(network, address))
  if (allowing.some(({ bits }) => bits === (address.length === 4 ? V4_BITS : V6_BITS))) return undefined
  if (METADATA.some((network) => isIn(network, address))) return "a cloud's metadata address"
  const inner = embeddedIn(address)
  for (const each of inner) {
    // `::` and `::1` hold no address: they are one.
    if (isIn(SMALL, address)) break
    const why = refused(each, hostIsAllowed, allow)
    if (why !== undefined) return `${why} in an IPv6 address`
  }
  if (hostIsAllowed || allowing.length > 0) return undefined
  const special = SPECIAL.find(([, networks]) => networks.some((network) => isIn(network, address)))
  if (special !== undefined) return special[0]
  if (inner.length > 0) return 'an IPv4 address in an IPv6 address'
  return address.length === 16 && !isIn(GLOBAL_V6, address) ? 'no global address' : undefined
}

const SMALL = networksOf('::/127')[0] as Network
