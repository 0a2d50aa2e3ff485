import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { type Place, STANDING_MS, WaitList } from './wait-list.ts'

const anybody = (): boolean => true

function drained<T>(list: WaitList<T>, now: number): T[] {
  const out: T[] = []
  for (let next = list.take(now, anybody); next !== undefined; next = list.take(now, anybody)) out.push(next)
  return out
}

function filled(names: string, now = 0): WaitList<string> {
  const list = new WaitList<string>()
  // Capital letters have an order.
  for (const name of names) list.add(name, name === name.toUpperCase(), now)
  return list
}

test('first come first served, as long as the line does not stand', () => {
  assert.deepEqual(drained(filled('abc'), STANDING_MS - 1), ['a', 'b', 'c'])
})

test('the newest first, once it has not been empty for 100 ms', () => {
  assert.deepEqual(drained(filled('abc'), STANDING_MS), ['c', 'b', 'a'])
})

test('a line that was empty in between does not stand', () => {
  const list = filled('abc')
  drained(list, 50)
  for (const name of 'xyz') list.add(name, false, 90)
  assert.deepEqual(drained(list, 90 + STANDING_MS - 1), ['x', 'y', 'z'])
})

test('those with an order keep it in a line that stands, and take turns with the others', () => {
  assert.deepEqual(drained(filled('ABabCc'), STANDING_MS), ['A', 'c', 'B', 'b', 'C', 'a'])
})

test('who cannot use the slot is passed over and keeps its place', () => {
  const list = filled('abc')
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
  const list = filled('abcd')
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
    what: fc.constantFrom('add', 'add', 'addOrdered', 'take', 'takeSome', 'leave'),
    pick: fc.nat({ max: 50 }),
  }),
  { maxLength: 200 },
)

test('whatever happens: the same as a list that is searched from end to end', () => {
  fc.assert(
    fc.property(steps, (history) => {
      const list = new WaitList<number>()
      let model: { id: number; ordered: boolean; place: Place<number> }[] = []
      let [now, filledAt, orderedNext, id] = [0, 0, true, 0]
      for (const { afterMs, what, pick } of history) {
        now += afterMs
        if (what === 'add' || what === 'addOrdered') {
          if (model.length === 0) filledAt = now
          const ordered = what === 'addOrdered'
          model.push({ id: ++id, ordered, place: list.add(id, ordered, now) })
        } else if (what === 'leave') {
          const leaving = model[pick % Math.max(model.length, 1)]
          if (leaving !== undefined) list.remove(leaving.place)
          model = model.filter((each) => each !== leaving)
        } else {
          const fits = (value: number): boolean => what === 'take' || value % 3 === pick % 3
          const usable = model.filter((each) => fits(each.id))
          const keyed = usable.find((each) => each.ordered)
          const free = usable.filter((each) => !each.ordered)
          const plain = now - filledAt >= STANDING_MS ? free.at(-1) : free[0]
          const expected = orderedNext ? (keyed ?? plain) : (plain ?? keyed)
          assert.equal(list.take(now, fits), expected?.id)
          if (expected !== undefined) orderedNext = !expected.ordered
          model = model.filter((each) => each !== expected)
        }
        assert.equal(list.size, model.length)
        const inOrder = [...model.filter((each) => !each.ordered), ...model.filter((each) => each.ordered)]
        assert.deepEqual(
          [...list].map(({ value }) => value),
          inOrder.map((each) => each.id),
        )
      }
    }),
  )
})
