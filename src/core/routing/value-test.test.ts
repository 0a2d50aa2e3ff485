import assert from 'node:assert/strict'
import { test } from 'node:test'
import { passes, testText, textsOf, type ValueTest, wantedText } from './value-test.ts'

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
