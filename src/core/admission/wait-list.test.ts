import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { SeededRandom } from '../../../test/support/seeded-random.ts'
import { HANDFUL, type Place, PRIORITY_DEFAULT, TURN_OF_LOWER, WaitList } from './wait-list.ts'

const RULES = { targetMs: 100, intervalMs: 500 }
const anybody = (): boolean => true

function drained<T>(list: WaitList<T>, now: number): T[] {
  const out: T[] = []
  for (let next = list.take(now, anybody); next !== undefined; next = list.take(now, anybody)) out.push(next)
  return out
}

/** Letters: capital ones have a key, the same letter the same. */
function add(list: WaitList<string>, names: string, now = 0, priority: number = PRIORITY_DEFAULT): Place<string>[] {
  return Array.from(names, (name) => list.add({ value: name, priority, key: name === name.toLowerCase() ? undefined : name }, now))
}

/** A line that stands at the time that it gives: a crowd that came at 0, and turns at which it was too old. */
function standing(names: string): { list: WaitList<string>; now: number } {
  const list = new WaitList<string>(RULES)
  add(list, names + 'x'.repeat(HANDFUL + 8))
  for (const now of [100, 400, 600])
    assert.equal(
      list.take(now, () => false),
      undefined,
    )
  return { list, now: 600 }
}

test('first come first served, whatever the time, without rules', () => {
  const list = new WaitList<string>()
  add(list, 'abc'.repeat(HANDFUL))
  const turns = [100, 400, 600, 60_000].map((now) => list.take(now, anybody))
  assert.deepEqual([turns.join(''), list.stands], ['abca', false])
})

test('the newest first, once the oldest was older than the target at every turn for an interval', () => {
  const list = new WaitList<string>(RULES)
  add(list, 'abcd'.repeat(HANDFUL))
  const turns = [99, 100, 599, 600].map((now) => list.take(now, anybody))
  assert.deepEqual(turns, ['a', 'b', 'c', 'd'])
  assert.equal(list.stands, true)
  assert.equal([...list].at(-1)?.value, 'c', 'the fourth turn was the newest one: a line of abcd has d there')
})

test('one turn that finds the oldest young enough begins the interval anew', () => {
  const list = new WaitList<string>(RULES)
  const early = add(list, 'a'.repeat(HANDFUL))
  add(list, 'b'.repeat(2 * HANDFUL), 250)
  list.take(300, anybody)
  for (const place of early) list.remove(place)
  list.take(349, anybody)
  list.take(350, anybody)
  list.take(849, anybody)
  assert.equal(list.stands, false)
  list.take(850, anybody)
  assert.equal(list.stands, true)
})

test('a handful makes no line that stands, and is never let go early', () => {
  const list = new WaitList<string>(RULES)
  const places = add(list, 'abcdefghijklmnop')
  assert.equal(places.length, HANDFUL)
  for (const now of [100, 600, 5000]) list.take(now, () => false)
  assert.deepEqual([list.stands, list.isOld(places[0] as Place<string>, 5000)], [false, false])
  add(list, 'q', 5000)
  for (const now of [5000, 5500]) list.take(now, () => false)
  assert.deepEqual([list.stands, list.isOld(places[0] as Place<string>, 5500)], [true, true])
})

test('in a line that stands who has waited for twice the target is let go, down to a handful', () => {
  const { list, now } = standing('')
  add(list, 'yz', now - 199)
  let gone = 0
  for (const place of list) {
    if (!list.isOld(place, now)) continue
    list.remove(place)
    gone++
  }
  assert.deepEqual([gone, list.size], [10, HANDFUL])
  assert.equal(list.isOld(add(list, 'y', now - 199)[0] as Place<string>, now), false)
})

test('a line that was empty in between does not stand', () => {
  const { list, now } = standing('')
  drained(list, now)
  add(list, 'abc'.repeat(HANDFUL), now)
  assert.deepEqual([list.stands, list.take(now + 500, anybody)], [false, 'a'])
})

test('requests of a key keep their order in a line that stands, and take turns with the others', () => {
  const { list, now } = standing('ABAC')
  assert.deepEqual(drained(list, now).slice(0, 8), ['A', 'x', 'B', 'x', 'A', 'x', 'C', 'x'])
})

test('nobody passes another of its key: not where that one cannot use the slot, and not by its priority', () => {
  const list = new WaitList<number>()
  list.add({ value: 1, priority: 2, key: 'k' }, 0)
  list.add({ value: 2, priority: 9, key: 'k' }, 0)
  list.add({ value: 3, priority: 5, key: 'other' }, 0)
  assert.equal(
    list.take(0, (value) => value === 2),
    undefined,
  )
  assert.deepEqual(drained(list, 0), [3, 1, 2])
})

test('the more urgent goes first, and one turn of eight to those below, one priority after the other', () => {
  const list = new WaitList<number>()
  for (let n = 0; n < 40; n++) for (const priority of [9, 5, 0]) list.add({ value: priority, priority, key: undefined }, 0)
  const turns = Array.from({ length: 4 * TURN_OF_LOWER }, () => list.take(0, anybody)).join('')
  assert.equal(turns, '99999995999999909999999599999990')
})

test('who leaves a full line: the newest of the lowest priority, if that is lower; in a line that stands the oldest, also of the same', () => {
  const list = new WaitList<string>(RULES)
  assert.equal(list.lastBelow(9), undefined)
  add(list, 'ab', 0, 3)
  add(list, 'cd', 0, 4)
  assert.deepEqual(
    [3, 4, 9].map((priority) => list.lastBelow(priority)?.value),
    [undefined, 'b', 'b'],
  )
  const { list: old } = standing('a')
  assert.deepEqual(
    [4, 5, 6].map((priority) => old.lastBelow(priority)?.value),
    [undefined, 'a', 'a'],
  )
})

test('who cannot use the slot is passed over and keeps its place', () => {
  const list = new WaitList<string>()
  add(list, 'abc')
  assert.equal(
    list.take(0, (name) => name !== 'a'),
    'b',
  )
  assert.equal(
    list.take(0, () => false),
    undefined,
  )
  assert.deepEqual(drained(list, 0), ['a', 'c'])
})

test('leaving twice is leaving once, also while somebody walks through', () => {
  const list = new WaitList<string>()
  add(list, 'abcd')
  const met: string[] = []
  for (const place of list) {
    met.push(place.value)
    if (place.value !== 'b') continue
    for (const other of [...list]) if (other.value !== 'd') list.remove(other)
    list.remove(place)
  }
  assert.deepEqual([met, list.size, drained(list, 0)], [['a', 'b', 'd'], 1, ['d']])
})

const steps = fc.array(
  fc.record({
    afterMs: fc.integer({ min: 0, max: 60 }),
    what: fc.constantFrom('add', 'add', 'add', 'take', 'takeSome', 'leave', 'crowd'),
    pick: fc.nat({ max: 50 }),
    priority: fc.nat({ max: 9 }),
    key: fc.option(fc.constantFrom('k', 'l'), { nil: undefined }),
  }),
  { maxLength: 200 },
)

interface Known {
  readonly id: number
  readonly priority: number
  readonly key: string | undefined
  readonly place: Place<number>
}

/** All that is promised of a turn, whoever's it is. */
function checkTurn(taken: Known | undefined, usable: readonly Known[], stands: boolean): void {
  if (taken === undefined) return assert.deepEqual(usable, [], 'somebody could have used it')
  assert.ok(usable.includes(taken), 'it was to be passed over')
  if (taken.key !== undefined) return
  const alike = usable.filter(({ priority, key }) => priority === taken.priority && key === undefined)
  assert.equal(taken, stands ? alike.at(-1) : alike[0])
}

test('whatever happens: nobody is lost or passed by one of its key, a turn is used if somebody can, and the order is that of the line', () => {
  fc.assert(
    fc.property(steps, fc.boolean(), (history, adaptive) => {
      const list = new WaitList<number>(adaptive ? RULES : undefined)
      let model: Known[] = []
      let [now, id] = [0, 0]
      const enter = (priority: number, key: string | undefined): void => {
        model.push({ id: ++id, priority, key, place: list.add({ value: id, priority, key }, now) })
      }
      for (const { afterMs, what, pick, priority, key } of history) {
        now += afterMs
        if (what === 'add') enter(priority, key)
        else if (what === 'crowd') for (let n = 0; n < 5; n++) enter(priority, undefined)
        else if (what === 'leave') {
          const leaving = model[pick % Math.max(model.length, 1)]
          if (leaving !== undefined) list.remove(leaving.place)
          model = model.filter((each) => each !== leaving)
        } else {
          const fits = (value: number): boolean => what === 'take' || value % 3 === pick % 3
          const isFirst = (each: Known): boolean => each.key === undefined || model.find((other) => other.key === each.key) === each
          const value = list.take(now, fits)
          const taken = model.find((each) => each.id === value)
          const usable = model.filter((each) => fits(each.id) && isFirst(each))
          // Whoever is taken may be the last: then the line stands no more.
          checkTurn(taken, usable, model.length > HANDFUL && list.stands)
          model = model.filter((each) => each !== taken)
        }
        assert.equal(list.size, model.length)
        assert.deepEqual([...list].map(({ value }) => value).sort(), model.map((each) => each.id).sort())
      }
    }),
  )
})

test('nobody starves: whoever waits gets its turn, whatever comes above, as long as the line does not stand', () => {
  const arrivals = fc.array(fc.nat({ max: 9 }), { minLength: 1, maxLength: 10 })
  fc.assert(
    fc.property(arrivals, fc.nat({ max: 9 }), (above, lowest) => {
      const list = new WaitList<string>()
      list.add({ value: 'patient', priority: lowest, key: undefined }, 0)
      for (let n = 0; n < 10 * TURN_OF_LOWER; n++) {
        const priority = above[n % above.length] as number
        // As many come as go, and a second one so that there is always somebody above.
        list.add({ value: 'other', priority: Math.max(priority, lowest + 1 > 9 ? 9 : lowest + 1), key: undefined }, 0)
        if (list.take(0, anybody) === 'patient') return
      }
      assert.fail('it starves')
    }),
  )
})

const TURNS = 8000

/** Serves at a steady pace what comes at random; says how long those waited who were served, and how many were. */
function simulate(rules: typeof RULES | undefined, load: number, random: SeededRandom): { served: number; worst: number } {
  const list = new WaitList<number>(rules)
  let [served, worst] = [0, 0]
  for (let now = 0; now < TURNS; now++) {
    for (let left = load; left > 0; left--)
      if (random.unit() < Math.min(1, left)) list.add({ value: now, priority: 5, key: undefined }, now)
    if (now % 20 === 0) for (const place of list) if (now - place.since >= 2000 || list.isOld(place, now)) list.remove(place)
    const since = list.take(now, anybody)
    if (since === undefined) continue
    served++
    if (now > TURNS / 2) worst = Math.max(worst, now - since)
  }
  return { served, worst }
}

test('under three times the load every turn is used, and whoever is served has waited shortly; first come first served: all wait to the end', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e9 }), (seed) => {
      const random = new SeededRandom(seed)
      const [adaptive, fifo] = [simulate(RULES, 3, random), simulate(undefined, 3, random)]
      assert.ok(adaptive.served > TURNS - 50 && fifo.served > TURNS - 50, `${adaptive.served} ${fifo.served}`)
      assert.ok(adaptive.worst < 250 && fifo.worst > 1950, `${adaptive.worst} ${fifo.worst}`)
    }),
    { numRuns: 3 },
  )
})

test('under a load that can be borne nobody is let go', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e9 }), (seed) => {
      const { served } = simulate(RULES, 0.9, new SeededRandom(seed))
      assert.equal(served, simulate(undefined, 0.9, new SeededRandom(seed)).served)
    }),
    { numRuns: 3 },
  )
})
