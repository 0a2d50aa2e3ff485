/**
 * Which server works on which job: key (or job id) -> one of 256 buckets by hash, bucket -> server by weighted rendezvous hashing with
 * bounded loads. Rendezvous: every (server, bucket) pair has a score that depends on nothing else, the highest wins; with so few buckets
 * chance alone would give some servers twice their share, so a server that has its share and a little more is passed over (Mirrokni,
 * Thorup, Zadimoghaddam: Consistent Hashing with Bounded Loads, 2016). Every bucket has a home among all servers, up or not, that only a
 * change of the servers themselves moves. When a server fails, its buckets alone go to others, and come back with it.
 */
import { hash32, mix32 } from '../../lib/hash.ts'
import { rendezvousScore } from '../balancing/rendezvous.ts'

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
      const score = rendezvousScore(server.hash, mix32(bucket + 1), server.weight)
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
