/** What a pool heeds of what its servers say of themselves, in a configuration. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ServerReportRules } from '../core/server-reports/rules.ts'
import { loadText } from './load.ts'

const OPTIONS = { file: 'x.yaml', folder: '/srv' }

function load(serverReports: string): ReturnType<typeof loadText> {
  const text = `pools: { api: { servers: [http://127.0.0.1:3001], serverReports: ${serverReports} } }\nroutes: [{ match: /* }]\n`
  return loadText(text, OPTIONS, {})
}

function rules(serverReports: string): ServerReportRules | undefined {
  const result = load(serverReports)
  assert.ok(result.ok, JSON.stringify(result))
  return result.config.pools[0]?.serverReports
}

test('both are heeded by default, each can be turned off, and other values hold', () => {
  const defaults = { load: { floor: 0.1, expireMs: 10_000 }, drain: { maxMs: 300_000 } }
  assert.deepEqual(rules('{}'), defaults)
  assert.deepEqual(rules('{ load: off }'), { drain: defaults.drain })
  assert.deepEqual(rules('{ drain: off }'), { load: defaults.load })
  assert.deepEqual(rules('{ load: { floor: 25%, expire: 1m }, drain: { max: 1h } }'), {
    load: { floor: 0.25, expireMs: 60_000 },
    drain: { maxMs: 3_600_000 },
  })
  for (const off of ['off', '{ load: off, drain: off }']) assert.equal(rules(off), undefined)
})

test('a floor of nothing, a time of nothing and what there is not are refused', () => {
  for (const [wrong, key] of [
    ['{ load: { floor: 0% } }', /pools\.api\.serverReports\.load\.floor  must be a share such as 20%, more than 0%/],
    ['{ load: { floor: 101% } }', /pools\.api\.serverReports\.load\.floor/],
    ['{ load: { expire: 0s } }', /pools\.api\.serverReports\.load\.expire/],
    ['{ drain: { max: 0s } }', /pools\.api\.serverReports\.drain\.max/],
    ['{ loads: off }', /pools\.api\.serverReports\.loads .*did you mean load\?/],
    ['on', /pools\.api\.serverReports/],
  ] as const) {
    const result = load(wrong)
    assert.ok(!result.ok, wrong)
    assert.match(result.errors.join('\n'), key)
  }
})
