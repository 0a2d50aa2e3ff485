import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { hash32 } from '../../lib/hash.ts'
import { type BalanceRule, createBalancer, type Member } from './balancer.ts'
import { PeakEwma } from './peak-ewma.ts'

interface TestServer extends Member {
  inFlight: number
}

const RULES: readonly BalanceRule[] = ['round-robin', 'least-requests', 'random', 'peak-ewma', { loadMax: 1.25 }]

function server(name: string, weight = 1): TestServer {
  return { name, weight, configuredWeight: weight, inFlight: 0, latency: new PeakEwma(), hash: hash32(name), credit: 0 }
}

function servers(count: number, weightOf: (n: number) => number = () => 1): TestServer[] {
  return Array.from({ length: count }, (_, n) => server(`http://10.0.0.${n}:80`, weightOf(n)))
}

/** Uniform, and the same in every run. */
function uniform(seed = 1): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 0x1_0000_0000
  }
}

const weights = fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 12 })

test('every algorithm takes one of those that may be used, and none where there is none', () => {
  fc.assert(
    fc.property(fc.constantFrom(...RULES), weights, fc.array(fc.nat()), fc.nat(), (rule, all, calls, seed) => {
      const members = servers(all.length, (n) => all[n] ?? 1)
      const balancer = createBalancer(rule, members, uniform(seed))
      assert.equal(balancer.pick([], { now: 0, keyHash: 1 }), undefined)
      for (const [at, call] of calls.entries()) {
        const usable = members.filter((_, n) => ((call >> n) & 1) === 1)
        const picked = balancer.pick(usable, { now: at, keyHash: call % 3 === 0 ? undefined : call })
        assert.equal(picked === undefined, usable.length === 0)
        if (picked === undefined) continue
        assert.ok(usable.includes(picked))
        picked.inFlight += 1
        if (call % 2 === 0) picked.latency.observe(call % 100, at)
      }
    }),
  )
})

test('round-robin: in one cycle everybody is chosen as often as its weight says, give or take one at any moment', () => {
  fc.assert(
    fc.property(weights, (all) => {
      const members = servers(all.length, (n) => all[n] ?? 1)
      const balancer = createBalancer('round-robin', members, uniform())
      const cycle = all.reduce((sum, weight) => sum + weight, 0)
      const chosen = new Map<TestServer, number>()
      for (let n = 1; n <= 2 * cycle; n++) {
        const picked = balancer.pick(members, { now: 0 }) as TestServer
        chosen.set(picked, (chosen.get(picked) ?? 0) + 1)
        for (const member of members) {
          const expected = (n * member.weight) / cycle
          assert.ok(Math.abs((chosen.get(member) ?? 0) - expected) <= 1, `${member.name} after ${n}`)
        }
      }
      for (const member of members) assert.equal(chosen.get(member), 2 * member.weight)
    }),
  )
})

test('least-requests: nobody has more per weight than another one would with one more', () => {
  fc.assert(
    fc.property(weights, fc.array(fc.nat({ max: 99 }), { maxLength: 200 }), (all, ends) => {
      const members = servers(all.length, (n) => all[n] ?? 1)
      const balancer = createBalancer('least-requests', members, uniform())
      for (const end of ends) {
        const least = Math.min(...members.map(({ inFlight, weight }) => inFlight / weight))
        const picked = balancer.pick(members, { now: 0 }) as TestServer
        assert.equal(picked.inFlight / picked.weight, least)
        picked.inFlight += 1
        const leaving = members[end % members.length] as TestServer
        if (end % 3 === 0) leaving.inFlight = Math.max(0, leaving.inFlight - 1)
      }
    }),
  )
})

for (const rule of ['random', 'peak-ewma'] as const) {
  test(`${rule}: equal servers that are idle get as much as their weights say`, () => {
    const members = servers(4, (n) => n + 1)
    const balancer = createBalancer(rule, members, uniform())
    const chosen = new Map<TestServer, number>()
    for (let n = 0; n < 20_000; n++) {
      const picked = balancer.pick(members, { now: n }) as TestServer
      chosen.set(picked, (chosen.get(picked) ?? 0) + 1)
      if (rule === 'peak-ewma') picked.latency.observe(10, n)
    }
    for (const member of members) {
      const share = (chosen.get(member) ?? 0) / 20_000
      assert.ok(Math.abs(share - member.weight / 10) < 0.07, `weight ${member.weight} of 10 has a share of ${share}`)
    }
  })

  test(`${rule}: with all of them busy, what is in flight follows the weights`, () => {
    const members = servers(5, (n) => (n === 0 ? 3 : 1))
    const balancer = createBalancer(rule, members, uniform())
    for (const member of members) member.latency.observe(10, 0)
    for (let n = 0; n < 700; n++) (balancer.pick(members, { now: 0 }) as TestServer).inFlight += 1
    for (const { inFlight, weight } of members) assert.ok(Math.abs(inFlight - 100 * weight) <= 12, `${inFlight} for weight ${weight}`)
  })
}

/** Requests that come evenly, to servers that take as long as `tookMs` says; shares are counted from `countFrom` on. */
function simulate(
  members: TestServer[],
  tookMs: (server: TestServer, now: number) => number,
  untilMs: number,
  countFrom: number,
): number[] {
  const balancer = createBalancer('peak-ewma', members, uniform())
  const counts = members.map(() => 0)
  let running: { endsAt: number; took: number; server: TestServer }[] = []
  for (let now = 0; now < untilMs; now++) {
    for (const { endsAt, took, server: of } of running) {
      if (endsAt > now) continue
      of.inFlight -= 1
      of.latency.observe(took, now)
    }
    running = running.filter(({ endsAt }) => endsAt > now)
    const picked = balancer.pick(members, { now }) as TestServer
    picked.inFlight += 1
    const took = tookMs(picked, now)
    running.push({ endsAt: now + took, took, server: picked })
    if (now >= countFrom) counts[members.indexOf(picked)] = (counts[members.indexOf(picked)] ?? 0) + 1
  }
  const total = counts.reduce((sum, count) => sum + count, 0)
  return counts.map((count) => count / total)
}

test('peak-ewma: a server that becomes ten times slower has little left after two seconds', () => {
  const members = servers(4)
  const [slow] = members
  const shares = simulate(members, (of, now) => (of === slow && now >= 5_000 ? 100 : 10), 10_000, 7_000)
  assert.ok((shares[0] ?? 1) < 0.05, `${shares[0]} of the requests`)
  assert.ok((shares[0] ?? 0) > 0, 'and yet it is tried now and then')
})

test('peak-ewma: a server that was slow gets its share again when it is well', () => {
  const members = servers(4)
  const [slow] = members
  const took = (of: TestServer, now: number): number => (of === slow && now >= 5_000 && now < 20_000 ? 100 : 10)
  const [share = 0] = simulate(members, took, 60_000, 45_000)
  assert.ok(share > 0.2 && share < 0.3, `${share} of the requests`)
})

test('peak-ewma: nobody starves, however slow it was', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 8 }), fc.integer({ min: 2, max: 100 }), (count, factor) => {
      const members = servers(count)
      const [slow] = members
      const shares = simulate(members, (of) => (of === slow ? 5 * factor : 5), 60_000, 20_000)
      for (const share of shares) assert.ok(share > 0)
    }),
    { numRuns: 10 },
  )
})

test('peak-ewma: of servers that nothing is known of, none gets a second request before the others have one', () => {
  const members = servers(3)
  const balancer = createBalancer('peak-ewma', members, uniform())
  for (let n = 0; n < 30; n++) (balancer.pick(members, { now: 0 }) as TestServer).inFlight += 1
  for (const { inFlight } of members) assert.ok(inFlight >= 5, `${inFlight}`)
})

const KEYS = 20_000
const LARGE = 100

for (const count of [10, LARGE]) {
  const rule: BalanceRule = { loadMax: Number.POSITIVE_INFINITY }
  const which = count === LARGE ? 'in a large pool' : 'in a small pool'
  const owners = (members: readonly TestServer[], usable: readonly TestServer[] = members): string[] => {
    const balancer = createBalancer(rule, members, uniform())
    return Array.from({ length: KEYS }, (_, n) => (balancer.pick(usable, { now: 0, keyHash: hash32(`key ${n}`) }) as TestServer).name)
  }
  const moved = (before: readonly string[], after: readonly string[]): number =>
    before.filter((name, n) => name !== after[n]).length / before.length

  test(`hash ${which}: a key has one server, wherever the servers stand in the file`, () => {
    const members = servers(count)
    assert.deepEqual(owners(members), owners(members))
    assert.deepEqual(owners(members.toReversed()), owners(members))
  })

  test(`hash ${which}: everybody has its share of the keys`, () => {
    const members = servers(count, (n) => (n % 2) + 1)
    const total = members.reduce((sum, { weight }) => sum + weight, 0)
    const counts = new Map<string, number>()
    for (const name of owners(members)) counts.set(name, (counts.get(name) ?? 0) + 1)
    for (const { name, weight } of members) {
      const expected = (KEYS * weight) / total
      // Five standard deviations of a share that is only drawn.
      assert.ok(Math.abs((counts.get(name) ?? 0) - expected) < 5 * Math.sqrt(expected) + 0.02 * expected, `${name}: ${counts.get(name)}`)
    }
  })

  test(`hash ${which}: of a server that cannot be used now its own keys move, and no other ones`, () => {
    const members = servers(count)
    const before = owners(members)
    const after = owners(members, members.slice(1))
    for (const [n, name] of before.entries()) if (name !== members[0]?.name) assert.equal(after[n], name)
    const heirs = new Set(after.filter((_, n) => before[n] === members[0]?.name))
    assert.ok(heirs.size > Math.min(8, count - 2), `they went to ${heirs.size} others`)
  })

  test(`hash ${which}: with a server more or less at most its share moves, and a hundredth`, () => {
    const members = servers(count)
    const fewer = moved(owners(members), owners(members.slice(1)))
    assert.ok(fewer <= 1 / count + 0.01, `${fewer} moved with one less`)
    const more = moved(owners(members), owners(servers(count + 1)))
    assert.ok(more <= 1 / count + 0.01, `${more} moved with one more`)
  })
}

test('hash: nobody has more than the bound over its share of what is in flight, small pool or large', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(3, LARGE),
      fc.constantFrom(1, 1.1, 1.25, 2),
      fc.array(fc.nat({ max: 5 }), { maxLength: 300 }),
      (count, loadMax, keys) => {
        const members = servers(count, (n) => (n % 3) + 1)
        const total = members.reduce((sum, { weight }) => sum + weight, 0)
        const balancer = createBalancer({ loadMax }, members, uniform())
        for (const [n, key] of keys.entries()) {
          const picked = balancer.pick(members, { now: 0, keyHash: hash32(`key ${key}`) }) as TestServer
          picked.inFlight += 1
          assert.ok(picked.inFlight <= Math.ceil((loadMax * (n + 1) * picked.weight) / total))
        }
      },
    ),
  )
})

test('hash: who shows nothing to be bound by goes where there is least to do', () => {
  const members = servers(2)
  const [busy, idle] = members as [TestServer, TestServer]
  busy.inFlight = 5
  const balancer = createBalancer({ loadMax: 1.25 }, members, uniform())
  for (let n = 0; n < 20; n++) assert.equal(balancer.pick(members, { now: 0 }), idle)
})
