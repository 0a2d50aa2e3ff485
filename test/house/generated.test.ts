/** Generated files are what the sources say now, and the examples that people copy are configurations that load. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { committedText, generatedFiles } from '../../scripts/generated.ts'
import { loadConfig, loadText } from '../../src/config/load.ts'

for (const [path, text] of Object.entries(generatedFiles())) {
  test(`${path} is fresh (npm run docs writes it)`, () => assert.equal(committedText(path), text))
}

for (const page of ['README.md', 'docs/chains-and-batches.md']) {
  test(`the configuration in ${page} loads without a warning`, () => {
    const examples = [...(committedText(page) ?? '').matchAll(/```yaml\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
    assert.ok(examples.length > 0)
    for (const example of examples) {
      const result = loadText(example, { file: page, folder: '/' }, {})
      assert.deepEqual(result.ok ? result.warnings : result.errors, [], example)
    }
  })
}

test('the example of a configuration module loads without a warning', async () => {
  const result = await loadConfig(join(import.meta.dirname, '..', '..', 'examples', 'spillway.config.ts'), {})
  assert.deepEqual(result.ok ? result.warnings : result.errors, [])
})
