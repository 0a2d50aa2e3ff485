/**
 * Which server works on which job: key (or job id) -> one of 256 buckets by hash, bucket -> server by weighted rendezvous hashing with
 * bounded loads. Rendezvous: every (server, bucket) pair has a score that depends on nothing else, the highest wins; with so few buckets
 * chance alone would give some servers twice their share, so a server that has its share and a little more is passed over (Mirrokni,
 * Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, 2016). Every bucket has a home among all servers, up or not, that only a
 * change of the servers themselves moves. When a server fails, its buckets alone go to others, and come back with it.
 */

export const BUCKETS = 256
/** One bit per bucket. */
const BUCKET_BITMAP_BYTES: number = BUCKETS / 8

export interface WeightedServer {
  readonly name: string
  /** 0: takes no bucket. */
  readonly weight: number
  /** Left out: it is. */
  readonly up?: boolean
}

/** A server has at most so much of its share, rounded up. */
const LOAD_MAX = 1.15

const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/** 32 bits of FNV-1a over the string's UTF-16 units, then the finaliser of MurmurHash3, which spreads every bit over all. */
export function hash32(text: string, seed = 0): number {
  let hash = FNV_OFFSET ^ seed
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    hash = Math.imul(hash ^ (unit & 0xff), FNV_PRIME)
    // The high byte goes in only where there is one: ASCII hashes as plain FNV-1a does.
    if (unit > 0xff) hash = Math.imul(hash ^ (unit >>> 8), FNV_PRIME)
  }
  return mix(hash)
}

function mix(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** The bucket of a key, or of the id of a job without one. Stored with the job: must never change. */
export function bucketOf(keyOrId: string): number {
  return hash32(keyOrId) % BUCKETS
}

/** Index into `servers` for each bucket; -1 where no server has a weight and is up. The order of `servers` does not matter. */
export function assignBuckets(servers: readonly WeightedServer[]): Int16Array {
  const candidates = servers
    .map(({ name, weight, up = true }, index) => ({ index, name, weight, up, hash: hash32(name), load: 0, cap: 0 }))
    .filter(({ weight }) => weight > 0)
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  const owners = new Int16Array(BUCKETS).fill(-1)
  setCaps(candidates)
  place(candidates, owners)
  const up = candidates.filter((server) => server.up)
  if (up.length === candidates.length) return owners
  const isUp = new Set(up.map(({ index }) => index))
  for (let bucket = 0; bucket < BUCKETS; bucket++) if (!isUp.has(owners[bucket] as number)) owners[bucket] = -1
  setCaps(up)
  place(up, owners)
  return owners
}

interface Candidate extends Required<WeightedServer> {
  readonly index: number
  readonly hash: number
  load: number
  cap: number
}

/** Whoever has more than his share already keeps it. */
function setCaps(servers: readonly Candidate[]): void {
  const sum = servers.reduce((weights, { weight }) => weights + weight, 0)
  for (const server of servers) server.cap = Math.max(server.load, Math.ceil((LOAD_MAX * BUCKETS * server.weight) / sum))
}

/** Gives every bucket without an owner to the server of the highest score that has room for it. */
function place(servers: readonly Candidate[], owners: Int16Array): void {
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    if (owners[bucket] !== -1) continue
    let best: Candidate | undefined
    let bestScore = -1
    for (const server of servers) {
      if (server.load >= server.cap) continue
      const score = rendezvousScore(server.hash, bucket, server.weight)
      if (score > bestScore) {
        best = server
        bestScore = score
      }
    }
    if (best === undefined) return
    best.load += 1
    owners[bucket] = best.index
  }
}

/** weight / -ln(u), u uniform in (0, 1): the highest of these falls to a server with a chance in proportion to its weight. */
function rendezvousScore(serverHash: number, bucket: number, weight: number): number {
  const uniform = (mix(serverHash ^ mix(bucket + 1)) + 0.5) / 0x1_0000_0000
  return weight / -Math.log(uniform)
}

/** The buckets of one server as a bitmap. */
export function bucketsOf(owners: Int16Array, server: number): Uint8Array {
  const bitmap = new Uint8Array(BUCKET_BITMAP_BYTES)
  owners.forEach((owner, bucket) => {
    if (owner === server) addBucket(bitmap, bucket)
  })
  return bitmap
}

export function allBuckets(): Uint8Array {
  return new Uint8Array(BUCKET_BITMAP_BYTES).fill(0xff)
}

export function addBucket(bitmap: Uint8Array, bucket: number): void {
  bitmap[bucket >> 3] = (bitmap[bucket >> 3] as number) | (1 << (bucket & 7))
}

export function hasBucket(bitmap: Uint8Array, bucket: number): boolean {
  return ((bitmap[bucket >> 3] as number) & (1 << (bucket & 7))) !== 0
}

export function countBuckets(bitmap: Uint8Array): number {
  let count = 0
  for (let bucket = 0; bucket < BUCKETS; bucket++) if (hasBucket(bitmap, bucket)) count += 1
  return count
}
