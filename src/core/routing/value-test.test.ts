import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { meetOf, passes, type SimpleTest, testText, textsOf, type ValueTest, wantedText } from './value-test.ts'

const CASES: readonly (readonly [
  test: ValueTest,
  yes: readonly (readonly string[])[],
  no: readonly (readonly string[])[],
  text: string,
])[] = [
  ['on', [['on'], ['off', 'on']], [[], ['On'], ['on ']], 'h=on'],
  ['a*', [['a*']], [['ab']], 'h="a*"'],
  [{ in: ['a|b', 'c'] }, [['c']], [['a']], 'h="a|b"|c'],
  [{ present: true }, [['']], [[]], 'h'],
  [{ present: false }, [[]], [['']], '!h'],
  [{ prefix: 'Bearer ' }, [['Bearer x'], ['Bearer ']], [[], ['bearer x'], ['x Bearer ']], 'h=Bearer *'],
  [{ suffix: '.js' }, [['a.js'], ['.js']], [[], ['a.jsx']], 'h=*.js'],
  [{ contains: 'bot' }, [['Googlebot/2']], [[], ['Bot']], 'h=*bot*'],
  [{ in: ['1', '2'] }, [['1'], ['3', '2']], [[], ['12']], 'h=1|2'],
  [{ not: 'on' }, [[], ['off']], [['on'], ['off', 'on']], '!h=on'],
  [{ not: { prefix: 'a' } }, [[], ['b']], [['ab'], ['b', 'a']], '!h=a*'],
  [{ not: { in: ['a', 'b'] } }, [[], ['c']], [['a'], ['c', 'b']], '!h=a|b'],
]
for (const [wanted, yes, no, text] of CASES) {
  test(`${JSON.stringify(wanted)}`, () => {
    for (const values of yes) assert.ok(passes(wanted, values), JSON.stringify(values))
    for (const values of no) assert.ok(!passes(wanted, values), JSON.stringify(values))
    assert.equal(testText('h', wanted), text)
    assert.ok(wantedText(wanted).length > 5)
    assert.ok(textsOf(wanted).every((each) => text.includes(each)))
  })
}

const text = fc.constantFrom('', 'a', 'ab', 'b', 'ba')
const simple: fc.Arbitrary<SimpleTest> = fc.oneof(
  text,
  fc.record({ prefix: text }),
  fc.record({ suffix: text }),
  fc.record({ contains: text }),
  fc.record({ in: fc.array(text, { minLength: 1, maxLength: 2 }) }),
)
const anyTest: fc.Arbitrary<ValueTest> = fc.oneof(simple, fc.record({ present: fc.boolean() }), fc.record({ not: simple }))

test('what both of two tests take is what their meeting takes, where one test can say it', () => {
  fc.assert(
    fc.property(anyTest, anyTest, fc.array(text, { maxLength: 1 }), (a, b, values) => {
      const meet = meetOf(a, b)
      if (meet === undefined) return
      assert.equal(meet !== false && passes(meet, values), passes(a, values) && passes(b, values), JSON.stringify({ a, b, meet }))
    }),
  )
})
