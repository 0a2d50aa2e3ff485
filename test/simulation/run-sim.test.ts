/** `npm run sim` as a user types it: through the script that every npm script goes through, which has a channel to what it starts. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'

const ROOT = join(import.meta.dirname, '..', '..')

function sim(...options: readonly string[]): { readonly status: number | null; readonly out: string; readonly err: string } {
  const args = [join(ROOT, 'scripts', 'setup.mjs'), 'scripts/sim.ts', ...options]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8', timeout: 60_000 })
  return { status, out: stdout, err: stderr }
}

test('the simulation is shared out to workers, and every seed is counted', () => {
  const { status, out } = sim('--seeds', '22', '--from', '7')
  assert.match(out, /^22 of 22 seeds, .* 0 failing\n$/m)
  assert.equal(status, 0)
})

test('one seed tells its whole history', () => {
  const { status, out } = sim('--seeds', '1', '--from', '7')
  assert.match(out, /\nseed 7: \d+ jobs, \d+ runs, \d+ virtual ms, history [\da-f]+\n$/)
  assert.equal(status, 0)
})

test('a number of seeds that is none is said to be none', () => {
  const { status, err } = sim('--seeds', 'many')
  assert.match(err, /--seeds is a whole number above 0, not many/)
  assert.equal(status, 2)
})
