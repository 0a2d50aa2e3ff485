import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { LONG, SHORT } from '../../test/support/config-texts.ts'
import { loadText, type LoadResult, loadValue } from './load.ts'

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
console.log(`SEED=${SEED}`)

const OPTIONS = { file: 'spillway.yaml', folder: '/srv/app' }

function load(text: string, environment: Record<string, string> = {}): LoadResult {
  return loadText(text, OPTIONS, environment)
}

describe('whatever it is given, reading never throws', () => {
  test('damaged texts', () => {
    const damage = fc.tuple(
      fc.nat(LONG.length),
      fc.nat(12),
      fc.oneof(fc.string(), fc.constantFrom('{', '}', '[', ']', ':', '\n', '&a ', '*a', '${', '!!x ', '- ', '? ', '"')),
    )
    fc.assert(
      fc.property(fc.constantFrom(LONG, SHORT), fc.array(damage, { minLength: 1, maxLength: 4 }), (text, damages) => {
        let damaged = text
        for (const [at, length, added] of damages) damaged = damaged.slice(0, at) + added + damaged.slice(at + length)
        const result = load(damaged, { X: '1' })
        assert.ok(result.ok || result.errors.length > 0)
      }),
      { seed: SEED, numRuns: 400 },
    )
  })

  test('well-formed values of any other shape', () => {
    const keys = [
      'pools',
      'routes',
      'match',
      'servers',
      'url',
      'queues',
      'listeners',
      'address',
      'admin',
      'store',
      'key',
      'mode',
      'pool',
      'api',
      'limits',
      '__proto__',
      'constructor',
    ]
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof(
        { maxDepth: 5 },
        tie('leaf'),
        fc.array(tie('tree'), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom(...keys), tie('tree'), { maxKeys: 5 }),
      ),
      leaf: fc.oneof(
        fc.constantFrom('http://a', '/a', 'queue', 'spill', 'api', '1s', '', null, undefined),
        fc.integer(),
        fc.boolean(),
        fc.string(),
      ),
    }))
    const file = fc.record({
      pools: tree,
      routes: fc.oneof(tree, fc.array(fc.record({ match: tree, mode: fc.constantFrom('queue', 'spill', 'x') }))),
      queues: tree,
    })
    fc.assert(
      fc.property(file, (value) => {
        const result = loadValue(structuredClone(value), OPTIONS)
        assert.ok(result.ok || result.errors.length > 0)
      }),
      { seed: SEED, numRuns: 1000 },
    )
  })

  test('aliases that would grow without end', () => {
    const levels = Array.from({ length: 30 }, (_, i) => `l${i + 1}: &l${i + 1} [*l${i}, *l${i}, *l${i}]`)
    assert.ok(!load(`l0: &l0 [x]\n${levels.join('\n')}\n`).ok)
  })
})
