import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import {
  beginProbation,
  Conduct,
  eject,
  type Judged,
  judgeWindow,
  mayEject,
  observe,
  type OutlierRules,
  PROBATION_ANSWERS,
} from './outliers.ts'

const RULES: OutlierRules = {
  consecutive: 5,
  failureRate: 0.5,
  volumeMin: 20,
  slowerThan: 5,
  windowMs: 10_000,
  ejectMs: 30_000,
  ejectMaxMs: 100_000,
  ejectedMax: 0.1,
}

function judged(counts: { answered?: number; failed?: number; latencyMs?: number }): Judged {
  const conduct = new Conduct()
  conduct.answered = counts.answered ?? 100
  conduct.failed = counts.failed ?? 0
  return { conduct, latencyMs: counts.latencyMs ?? 10 }
}

test('five failures in a row are enough, four are not, and a good answer in between begins the count anew', () => {
  const conduct = new Conduct()
  for (const ok of [false, false, false, false, true, false, false, false, false]) assert.equal(observe(conduct, ok, RULES), undefined)
  assert.equal(observe(conduct, false, RULES), '5 requests in a row failed')
})

test('failures in a row are not counted where the rule says 0', () => {
  const conduct = new Conduct()
  for (let n = 0; n < 100; n++) assert.equal(observe(conduct, false, { ...RULES, consecutive: 0 }), undefined)
})

test('each time it is out for longer, up to the maximum, and good windows make up for it', () => {
  const conduct = new Conduct()
  assert.deepEqual(
    [1, 2, 3, 4, 5].map(() => eject(conduct, 'x', 0, RULES)),
    [30_000, 60_000, 90_000, 100_000, 100_000],
  )
  conduct.standing = 'good'
  for (let window = 0; window < 4; window++) {
    observe(conduct, true, RULES)
    judgeWindow([{ conduct, latencyMs: 1 }], RULES)
  }
  assert.equal(eject(conduct, 'x', 0, RULES), 60_000)
})

test('a window in which nothing came makes up for nothing', () => {
  const conduct = new Conduct()
  eject(conduct, 'x', 0, RULES)
  conduct.standing = 'good'
  judgeWindow([{ conduct, latencyMs: undefined }], RULES)
  assert.equal(conduct.ejections, 1)
})

test('on probation one failure is enough, and some good answers in a row end it', () => {
  const conduct = new Conduct()
  eject(conduct, 'x', 0, RULES)
  beginProbation(conduct)
  for (let n = 1; n < PROBATION_ANSWERS; n++) assert.equal(observe(conduct, true, RULES), undefined)
  assert.equal(observe(conduct, false, RULES), 'a request failed on probation')
  beginProbation(conduct)
  for (let n = 1; n <= PROBATION_ANSWERS; n++) {
    assert.equal(conduct.standing, 'probation')
    observe(conduct, true, RULES)
  }
  assert.equal(conduct.standing, 'good')
})

test('by rate: at the share and the volume, not below either', () => {
  const cases: readonly [counts: { answered: number; failed: number }, reason: string | undefined][] = [
    [{ answered: 20, failed: 10 }, '50 % of 20 requests failed'],
    [{ answered: 20, failed: 9 }, undefined],
    [{ answered: 19, failed: 19 }, undefined],
  ]
  for (const [counts, reason] of cases) assert.deepEqual(judgeWindow([judged(counts), judged({})], RULES), [reason, undefined])
})

test('by latency: more than so many times slower than the middle of the others', () => {
  const others = [judged({ latencyMs: 8 }), judged({ latencyMs: 10 }), judged({ latencyMs: 12 })]
  assert.deepEqual(judgeWindow([judged({ latencyMs: 51 }), ...others], RULES)[0], 'it takes 51 ms where others take 10 ms')
  for (const other of others) other.conduct.answered = 100
  assert.deepEqual(judgeWindow([judged({ latencyMs: 50 }), ...others], RULES), [undefined, undefined, undefined, undefined])
  assert.deepEqual(judgeWindow([judged({ latencyMs: 5000 })], RULES), [undefined], 'there is nothing to compare it with')
})

test('a window begins with nothing', () => {
  const server = judged({ answered: 100, failed: 10 })
  judgeWindow([server], RULES)
  assert.deepEqual([server.conduct.answered, server.conduct.failed], [0, 0])
})

/** So many, in this order: ejected, failing in a row, failing now and then, well. */
function pool(ejected: number, inRow: number, nowAndThen: number, well: number): Conduct[] {
  const conducts = Array.from({ length: ejected + inRow + nowAndThen + well }, () => new Conduct())
  for (const [i, conduct] of conducts.entries()) {
    conduct.answered = 20
    if (i < ejected) conduct.standing = 'ejected'
    else if (i < ejected + inRow) conduct.failuresInRow = 5
    else if (i < ejected + inRow + nowAndThen) conduct.failed = 2
    else conduct.failed = 1
  }
  return conducts
}

test('beyond the share, as long as another one does well, and never the last one', () => {
  assert.equal(mayEject(pool(1, 1, 1, 1), RULES), true)
  assert.equal(mayEject(pool(2, 1, 0, 1), RULES), true)
  assert.equal(mayEject(pool(3, 0, 0, 1), RULES), false, 'the last one')
  assert.equal(mayEject(pool(1, 3, 0, 0), RULES), false, 'all fail')
  assert.equal(mayEject(pool(1, 1, 2, 0), RULES), false, 'all fail now and then')
})

test('who does well has answered enough in this window and the one before', () => {
  const [...conducts] = pool(1, 1, 0, 1)
  const well = conducts[2] as Conduct
  well.failed = 0
  well.answered = 19
  assert.equal(mayEject(conducts, RULES), false)
  well.answeredBefore = 1
  assert.equal(mayEject(conducts, RULES), true)
  well.failedBefore = 2
  assert.equal(mayEject(conducts, RULES), false)
  judgeWindow(
    conducts.map((conduct) => ({ conduct, latencyMs: undefined })),
    RULES,
  )
  assert.deepEqual([well.answered, well.answeredBefore, well.failed, well.failedBefore], [0, 19, 0, 0])
})

test('whatever fails: never more than the share of the pool is out, or one, unless somebody does well; and never all', () => {
  const steps = fc.array(fc.record({ server: fc.nat({ max: 29 }), what: fc.constantFrom('ok', 'fail', 'fail', 'fail', 'time') }), {
    maxLength: 500,
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 30 }), fc.constantFrom(0, 0.1, 0.5, 1), steps, (count, ejectedMax, list) => {
      const rules = { ...RULES, ejectedMax }
      const conducts = Array.from({ length: count }, () => new Conduct())
      let outBefore = 0
      for (const { server, what } of list) {
        const conduct = conducts[server % count] as Conduct
        if (what === 'time' && conduct.standing === 'ejected') beginProbation(conduct)
        else if (what !== 'time') {
          const wasOut = conduct.standing !== 'good'
          const reason = observe(conduct, what === 'ok', rules)
          if (reason !== undefined && (wasOut || mayEject(conducts, rules))) eject(conduct, reason, 0, rules)
        }
        const out = conducts.filter(({ standing }) => standing !== 'good').length
        const someDoWell = conducts.some(
          ({ standing, answered, failed }) => standing === 'good' && answered >= 20 && failed <= answered / 20,
        )
        assert.ok(out <= Math.max(1, Math.floor(count * ejectedMax)) || out <= outBefore || someDoWell)
        outBefore = out
        assert.ok(out < count || count === 0, 'somebody is left')
      }
    }),
  )
})
