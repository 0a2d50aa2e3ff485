/** Which certificate is shown for which name. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { ServerNames } from './server-names.ts'

const certificate = (...names: string[]): { names: string[]; keyKind: string } => ({ names, keyKind: 'ec' })

test('an exact name goes before a wildcard, wherever they stand', () => {
  const names = new ServerNames([certificate('*.example.com'), certificate('api.example.com')])
  assert.deepEqual(names.find('api.example.com'), [1])
  assert.deepEqual(names.find('www.example.com'), [0])
})

test('a wildcard is one label: not none, not two', () => {
  const names = new ServerNames([certificate('*.example.com')])
  assert.deepEqual(names.find('a.example.com'), [0])
  for (const name of ['example.com', 'a.b.example.com', '.example.com', 'a.example.org', 'aexample.com']) {
    assert.equal(names.find(name), undefined, name)
  }
})

test('a part of a label is no wildcard, and a wildcard elsewhere is none', () => {
  const names = new ServerNames([certificate('w*.example.com', 'a.*.com', '*')])
  for (const name of ['www.example.com', 'a.example.com', 'com', 'localhost']) assert.equal(names.find(name), undefined, name)
})

test('case and the dot of the root say nothing', () => {
  const names = new ServerNames([certificate('API.Example.com')])
  assert.deepEqual(names.find('api.example.COM.'), [0])
})

test('of several for one name the first counts; one with another kind of key is shown beside it', () => {
  const names = new ServerNames([
    { names: ['a.com', 'b.com'], keyKind: 'ec' },
    { names: ['a.com'], keyKind: 'ec' },
    { names: ['a.com'], keyKind: 'rsa' },
  ])
  assert.deepEqual(names.find('a.com'), [0, 2])
  assert.deepEqual(names.find('b.com'), [0])
})

test('whatever is found covers the name, and nothing that covers it is missed', () => {
  const label = fc.constantFrom('a', 'b', 'com')
  const host = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))
  const pattern = fc.tuple(fc.boolean(), host).map(([wild, rest]) => (wild ? `*.${rest}` : rest))
  const covers = (written: string, name: string): boolean =>
    written === name || (written.startsWith('*.') && name.split('.').slice(1).join('.') === written.slice(2) && name.includes('.'))
  fc.assert(
    fc.property(fc.array(fc.array(pattern, { maxLength: 3 }), { maxLength: 4 }), host, (all, name) => {
      const found = new ServerNames(all.map((names) => certificate(...names))).find(name)
      const covering = all.flatMap((names, i) => (names.some((one) => covers(one, name)) ? [i] : []))
      assert.equal(found === undefined, covering.length === 0)
      if (found !== undefined) assert.ok(found.every((i) => covering.includes(i)))
      const exact = all.findIndex((names) => names.includes(name))
      if (exact >= 0) assert.deepEqual(found, [exact])
    }),
  )
})
