/**
 * Canary for the lint of layers: a rule that cannot fail proves nothing. Each case is a small tree with one forbidden line.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { lintConfig } from '../../scripts/layers.ts'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..')

function lint(files: Readonly<Record<string, string>>): { readonly passed: boolean; readonly output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-lint-'))
  try {
    for (const [path, text] of Object.entries({ ...files, '.oxlintrc.json': JSON.stringify(lintConfig()) })) {
      mkdirSync(dirname(join(folder, path)), { recursive: true })
      writeFileSync(join(folder, path), text)
    }
    const done = spawnSync(join(ROOT, 'node_modules', '.bin', 'oxlint'), ['--quiet', '--format=unix'], { cwd: folder, encoding: 'utf8' })
    return { passed: done.status === 0, output: done.stdout + done.stderr }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

const VALUE = 'export type T = number\nexport const value: T = 1\n'
const use = (path: string): string => `import { value } from '${path}'\nexport const copy: number = value\n`
const useType = (path: string): string => `import type { T } from '${path}'\nexport const copy: T = 1\n`

test('importing downwards, and from a folder of the same name below, passes', () => {
  const result = lint({
    'src/lib/a.ts': VALUE,
    'src/net/call.ts': use('../lib/a.ts'),
    'src/core/jobs/machine.ts': VALUE,
    'src/core/routing/router.ts': use('../jobs/machine.ts'),
    'src/gateway.ts': use('./net/call.ts'),
    'src/core/headers/forward.ts': useType('../../http1/message.ts'),
    'src/http1/message.ts': VALUE,
  })
  assert.equal(result.output, '')
  assert.ok(result.passed)
})

const FORBIDDEN: Readonly<Record<string, readonly [path: string, text: string, rule: string]>> = {
  'net imports upstream': ['src/net/a.ts', use('../upstream/b.ts'), 'no-restricted-imports'],
  'lib imports core': ['src/lib/a.ts', use('../core/b.ts'), 'no-restricted-imports'],
  'a nested folder imports jobs': ['src/engines/embedded/a.ts', use('../../jobs/b.ts'), 'no-restricted-imports'],
  'jobs imports the wiring': ['src/jobs/a.ts', use('../gateway.ts'), 'no-restricted-imports'],
  'the wiring imports the command line': ['src/gateway.ts', use('./cli/run.ts'), 'no-restricted-imports'],
  'a type from a layer above': ['src/http1/a.ts', useType('../net/call.ts'), 'no-restricted-imports'],
  'a test of a layer imports a layer above': ['src/http1/a.test.ts', use('../net/b.ts'), 'no-restricted-imports'],
  'core imports node:': ['src/core/retry/a.ts', "import { sep } from 'node:path'\nexport const s: string = sep\n", 'no-restricted-imports'],
  'core runs a contract': ['src/core/headers/a.ts', use('../../http1/message.ts'), 'no-restricted-imports'],
  'core reads the clock': ['src/core/retry/a.ts', 'export const now: number = Date.now()\n', 'no-restricted-globals'],
  'core draws a random number': ['src/core/retry/a.ts', 'export const r: number = Math.random()\n', 'no-restricted-properties'],
  'the client imports the rest': ['src/client/a.ts', use('../lib/units.ts'), 'no-restricted-imports'],
  'src imports a test': ['src/net/a.ts', use('../../test/b.ts'), 'no-restricted-imports'],
  'too many parameters': ['src/net/a.ts', 'export const f = (a, b, c, d, e) => [a, b, c, d, e]\n', 'max-params'],
  'a long function': ['src/net/a.ts', `export function f(): void {\n${'  void 0\n'.repeat(70)}}\n`, 'max-lines-per-function'],
  'a long file': ['test/a.test.ts', 'void 0\n'.repeat(601), 'max-lines'],
  'a default export': ['src/net/a.ts', 'export default 1\n', 'no-default-export'],
}

for (const [name, [path, text, rule]] of Object.entries(FORBIDDEN)) {
  test(`lint refuses: ${name}`, () => {
    const result = lint({ [path]: text })
    assert.equal(result.passed, false)
    assert.match(result.output, new RegExp(rule))
  })
}

test('lint refuses an import cycle', () => {
  const result = lint({
    'src/net/a.ts': "import { b } from './b.ts'\nexport const a = () => b\n",
    'src/net/b.ts': "import { a } from './a.ts'\nexport const b = () => a\n",
  })
  assert.match(result.output, /no-cycle/)
})
