/** Each fault of servers, with the defaults: what clients see of it is what `docs/guarantees.md` says. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { FAULT_CASES, OUTCOMES, type Seen, type Share } from './cases.ts'
import { CLIENTS, type Counts, EACH, runFault } from './fault-rig.ts'

/** `a few` are at most those that were under way, for each time that something happens. */
function fits(count: number, share: Share | undefined, strikes: number): boolean {
  if (share === 'some') return count > 0 && count < EACH
  return count <= (share === 'a few' ? CLIENTS * strikes : 0)
}

function look(counts: Counts, seen: Seen, { what, strikes }: { what: string; strikes: number }): void {
  for (const outcome of OUTCOMES) {
    if (outcome === 'well') continue
    const share = seen[outcome]
    assert.ok(fits(counts[outcome], share, strikes), `${what}, ${outcome}: ${share ?? 'none'}, and it was ${JSON.stringify(counts)}`)
  }
  assert.equal(counts.wrong, 0, `${what}: nothing that is not whole was ended as if it were, and everybody was answered`)
}

suite('faults of servers', { concurrency: 2 }, () => {
  for (const row of FAULT_CASES) {
    test(row.title, async (t) => {
      const result = await runFault(row)
      t.diagnostic(`figures: ${JSON.stringify([result.idempotent, result.once, result.state])}`)
      const seen = [...new Set(result.wrong.map((text) => text.replace(/\d{3,}|\d+:/g, 'n')))].slice(0, 5).join('\n')
      assert.deepEqual(result.twice, [], 'no POST is executed twice')
      const strikes = row.strikes.length
      look(result.idempotent, row.idempotent, { what: `idempotent (${seen})`, strikes })
      look(result.once, row.once, { what: `not idempotent (${seen})`, strikes })
      assert.equal(result.state, row.then)
    })
  }
})
