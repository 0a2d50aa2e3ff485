import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { endSpread, excessTunnels } from './tunnel-ends.ts'

test('few tunnels end soon, many over most of the time that there is', () => {
  assert.deepEqual(
    [0, 1, 100, 1200, 1_000_000].map((count) => endSpread(count, 30_000)),
    [0, 20, 2000, 24_000, 24_000],
  )
  assert.equal(endSpread(10, 0), 0)
})

test('who has more than its share gives up what is over, to whoever came', () => {
  const excess = (...shares: [tunnels: number, weight: number][]): readonly number[] =>
    excessTunnels(shares.map(([tunnels, weight]) => ({ tunnels, weight })))
  assert.deepEqual(excess([100, 1], [100, 1], [0, 1]), [33, 33, 0])
  assert.deepEqual(excess([100, 1], [0, 3]), [75, 0])
  assert.deepEqual(excess([1, 1], [0, 1]), [0, 0])
  assert.deepEqual(excess([7, 0], [0, 0]), [0, 0])
  assert.deepEqual(excess(), [])
})

test('whatever the numbers: after it nobody has more than its share and one, and nothing is ended for nothing', () => {
  const server = fc.record({ tunnels: fc.nat({ max: 10_000 }), weight: fc.integer({ min: 1, max: 100 }) })
  fc.assert(
    fc.property(fc.array(server, { minLength: 1, maxLength: 8 }), (servers) => {
      const excess = excessTunnels(servers)
      const tunnels = servers.reduce((sum, each) => sum + each.tunnels, 0)
      const weights = servers.reduce((sum, each) => sum + each.weight, 0)
      for (const [i, { tunnels: has, weight }] of servers.entries()) {
        const share = (tunnels * weight) / weights
        assert.ok((excess[i] ?? 0) >= 0 && has - (excess[i] ?? 0) < Math.max(share + 1, has + 1))
        if (has <= share) assert.equal(excess[i], 0)
        else assert.ok(has - (excess[i] ?? 0) < share + 1)
      }
    }),
  )
})
