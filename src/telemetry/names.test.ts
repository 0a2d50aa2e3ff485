import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { METRICS } from './names.ts'

const SOURCES = path.dirname(import.meta.dirname)

function namesInSources(): Set<string> {
  const files = globSync('**/*.ts', { cwd: SOURCES }).filter((file) => !file.endsWith('.test.ts') && !file.endsWith('telemetry/names.ts'))
  assert.ok(files.length > 20, 'the sources are found')
  const names = new Set<string>()
  for (const file of files) {
    for (const [name] of readFileSync(path.join(SOURCES, file), 'utf8').matchAll(/\b(?:spillway|process|nodejs)_[a-z_]+\b/g))
      names.add(name)
  }
  return names
}

test('every metric that the sources name is in the registry, and the registry has none that nobody feeds', () => {
  assert.deepEqual([...namesInSources()].sort(), Object.keys(METRICS).sort())
})
