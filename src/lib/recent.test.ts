import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../test/support/seed-fast-check.ts'
import { Recent } from './recent.ts'

const MAX = 5

test('what was set last is there, what was deleted is not, and no more than twice the bound is kept', () => {
  const steps = fc.array(fc.record({ kind: fc.constantFrom('set', 'set', 'set', 'delete', 'clear'), key: fc.nat(30) }), { maxLength: 200 })
  fc.assert(
    fc.property(steps, (list) => {
      const recent = new Recent<number>(MAX)
      let kept: [number, number][] = []
      for (const [value, { kind, key }] of list.entries()) {
        if (kind === 'clear') {
          recent.clear()
          kept = []
        } else {
          kept = kept.filter(([each]) => each !== key)
          if (kind === 'set') {
            recent.set(key, value)
            kept.push([key, value])
          } else recent.delete(key)
          if (kind === 'delete') assert.equal(recent.get(key), undefined)
        }
        for (const [each, wanted] of kept.slice(-MAX)) assert.equal(recent.get(each), wanted)
        for (const [each, wanted] of kept) assert.ok([wanted, undefined].includes(recent.get(each)), 'never an older value')
        const all = Array.from({ length: 31 }, (_, each) => recent.get(each)).filter((each) => each !== undefined)
        assert.ok(all.length <= 2 * MAX)
      }
    }),
  )
})
