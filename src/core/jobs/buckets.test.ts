import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import {
  addBucket,
  allBuckets,
  assignBuckets,
  BUCKETS,
  bucketOf,
  bucketsOf,
  countBuckets,
  hasBucket,
  type WeightedServer,
} from './buckets.ts'

const names = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 30 }), { minLength: 1, maxLength: 12 })
const servers = names.chain((list) =>
  fc.tuple(...list.map((name) => fc.record({ name: fc.constant(name), weight: fc.integer({ min: 1, max: 10 }) }))),
)

function ownerNames(list: readonly WeightedServer[]): readonly string[] {
  return Array.from(assignBuckets(list), (owner) => list[owner]?.name ?? '-')
}

test('what is stored with jobs never changes: these buckets are for ever', () => {
  const known: readonly (readonly [string, number])[] = [
    ['', 11],
    ['a', 179],
    ['account-1', 76],
    ['é', 105],
    ['💥', 153],
    ['0akjxsmr800', 186],
  ]
  for (const [key, bucket] of known) assert.equal(bucketOf(key), bucket, key)
})

test('keys spread evenly over the buckets', () => {
  for (const keyOf of [(n: number) => `account-${n}`, (n: number) => String(n), (n: number) => n.toString(2)]) {
    const counts = Array.from({ length: BUCKETS }, () => 0)
    const total = 256 * 400
    for (let n = 0; n < total; n++) counts[bucketOf(keyOf(n))] = (counts[bucketOf(keyOf(n))] ?? 0) + 1
    // Chi squared with 255 degrees of freedom: above 360 once in a hundred thousand.
    const chiSquared = counts.reduce((sum, count) => sum + (count - 400) ** 2 / 400, 0)
    assert.ok(chiSquared < 360, `${keyOf(7)}: ${chiSquared}`)
  }
})

test('every bucket has an owner, and its place in the list does not matter', () => {
  fc.assert(
    fc.property(servers, (list) => {
      const owners = ownerNames(list)
      assert.equal(owners.length, BUCKETS)
      assert.ok(!assignBuckets(list).includes(-1))
      assert.deepEqual(ownerNames(list.toReversed()), owners)
    }),
  )
})

test('without servers, or without weight, nobody owns anything', () => {
  assert.deepEqual([...new Set(assignBuckets([]))], [-1])
  assert.deepEqual([...new Set(assignBuckets([{ name: 'a', weight: 0 }]))], [-1])
})

test('when a server fails, only its buckets move', () => {
  fc.assert(
    fc.property(servers, fc.nat(), (list, pick) => {
      const gone = list[pick % list.length]?.name
      const before = assignBuckets(list)
      const after = assignBuckets(list.map((server) => ({ ...server, up: server.name !== gone })))
      before.forEach((owner, bucket) => {
        if (list[owner]?.name !== gone) assert.equal(after[bucket], owner)
        else assert.equal(after[bucket] === -1, list.length === 1, 'somebody takes it')
      })
    }),
  )
})

test('no server has more than its share and 15 %, rounded up, also while others are down', () => {
  fc.assert(
    fc.property(servers, fc.infiniteStream(fc.boolean()), (list, ups) => {
      const some = list.map((server) => ({ ...server, up: ups.next().value === true }))
      for (const each of [list, some.filter(({ up }) => up), some]) {
        const owners = assignBuckets(each)
        const up = each.filter((server) => !('up' in server) || server.up)
        const sum = up.reduce((weights, { weight }) => weights + weight, 0)
        const all = list.reduce((weights, { weight }) => weights + weight, 0)
        each.forEach((server, index) => {
          const count = owners.filter((owner) => owner === index).length
          // What it had while all were up it keeps.
          const share = (256 * server.weight) / Math.min(sum, all)
          if (up.includes(server)) assert.ok(count <= Math.ceil(1.15 * share), `${count} of ${share}`)
          else assert.equal(count, 0)
        })
      }
    }),
  )
})

test('when a server is added, little more moves than what it takes', () => {
  let moved = 0
  let taken = 0
  for (let set = 0; set < 100; set++) {
    const list = Array.from({ length: 2 + (set % 15) }, (_, n) => ({ name: `10.0.${set}.${n}:3000`, weight: 1 }))
    const [before, after] = [ownerNames(list.slice(1)), ownerNames(list)]
    moved += before.filter((owner, bucket) => owner !== after[bucket]).length
    taken += after.filter((owner) => owner === list[0]?.name).length
  }
  assert.ok(moved < 1.5 * taken, `${moved} moved for ${taken}`)
})

test('a server’s share is in proportion to its weight', () => {
  // Over many sets of names, so that the bound can be narrow: 256 x 200 draws.
  const shares = [0, 0, 0]
  for (let set = 0; set < 200; set++) {
    const owners = assignBuckets([1, 2, 5].map((weight, n) => ({ name: `10.0.${set}.${n}:3000`, weight })))
    for (const owner of owners) shares[owner] = (shares[owner] ?? 0) + 1 / (BUCKETS * 200)
  }
  for (const [n, expected] of [1 / 8, 2 / 8, 5 / 8].entries()) {
    const deviation = Math.sqrt((expected * (1 - expected)) / (BUCKETS * 200))
    assert.ok(Math.abs((shares[n] as number) - expected) < 5 * deviation, `${shares[n]} of ${expected}`)
  }
})

test('bitmaps hold exactly the buckets that were put in', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(BUCKETS - 1)), (buckets) => {
      const bitmap = new Uint8Array(32)
      for (const bucket of buckets) addBucket(bitmap, bucket)
      assert.equal(countBuckets(bitmap), buckets.length)
      for (let bucket = 0; bucket < BUCKETS; bucket++) assert.equal(hasBucket(bitmap, bucket), buckets.includes(bucket))
    }),
  )
  assert.equal(countBuckets(allBuckets()), BUCKETS)
})

test('the bitmaps of all servers together are all buckets, each once', () => {
  const owners = assignBuckets(['a', 'b', 'c'].map((name) => ({ name, weight: 1 })))
  const bitmaps = [0, 1, 2].map((server) => bucketsOf(owners, server))
  assert.equal(
    bitmaps.reduce((sum, bitmap) => sum + countBuckets(bitmap), 0),
    BUCKETS,
  )
  for (let bucket = 0; bucket < BUCKETS; bucket++) assert.equal(bitmaps.filter((bitmap) => hasBucket(bitmap, bucket)).length, 1)
})
