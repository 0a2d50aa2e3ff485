import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SpillwayError } from '../errors.ts'
import type { Settlement } from '../jobs.ts'
import { Settler } from './settler.ts'

function settler(receipts: readonly string[], outcome: Settlement['outcome'] = 'succeed'): { settler: Settler; told: string[] } {
  const made = new Settler()
  const told: string[] = []
  for (const receipt of receipts)
    made.add({ receipt, outcome } as Settlement, (problem) => told.push(`${receipt} ${problem?.code ?? 'ok'}`))
  return { settler: made, told }
}

const receiptsOf = (made: Settler): string[] => made.take().map(({ settlement }) => settlement.receipt)
const AWAY = new SpillwayError('network', 'nobody there')
const NEVER = new SpillwayError('forbidden', 'no', { status: 403 })
const numbered = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n))

test('a batch takes 1,000 settlements; of 1,001 one goes with the next', () => {
  assert.equal(settler(numbered(1000)).settler.take().length, 1000)
  const { settler: one } = settler(numbered(1001))
  assert.deepEqual([one.take().length, one.pending, one.open], [1000, 1, 1001])
})

test('a batch ends before 4 MiB; what is larger by itself goes alone', () => {
  const made = new Settler()
  const result = 'x'.repeat(2 << 20)
  for (const size of [1, 1, 3, 1]) made.add({ receipt: String(size), outcome: 'succeed', result: result.repeat(size) }, () => undefined)
  assert.deepEqual([receiptsOf(made), receiptsOf(made), receiptsOf(made), receiptsOf(made)], [['1'], ['1'], ['3'], ['1']])
})

test('after a broken request the same goes first again, and stale then means settled', () => {
  const { settler: made, told } = settler(['a', 'b'])
  const batch = made.take()
  made.add({ receipt: 'c', outcome: 'release' }, () => told.push('c'))
  made.failed(batch, AWAY)
  const again = made.take()
  assert.deepEqual(
    again.map(({ settlement }) => settlement.receipt),
    ['a', 'b', 'c'],
  )
  made.confirm(again, [{ status: 'stale' }, { status: 'settled', job: 'succeeded' }, { status: 'stale' }])
  assert.deepEqual([told, made.open], [['a ok', 'b ok', 'c'], 0])
})

test('stale the first time means that the lease was lost', () => {
  const { settler: made, told } = settler(['a'])
  made.confirm(made.take(), [{ status: 'stale' }])
  assert.deepEqual(told, ['a lease_lost'])
})

test('one that is never accepted does not hold up the others', () => {
  const { settler: made, told } = settler(['a', 'b', 'c'], 'release')
  made.failed(made.take(), NEVER)
  for (const expected of ['a', 'b', 'c']) {
    const batch = made.take()
    assert.deepEqual(
      batch.map(({ settlement }) => settlement.receipt),
      [expected],
    )
    if (expected === 'b') made.failed(batch, NEVER)
    else made.confirm(batch, [{ status: 'settled', job: 'queued' }])
  }
  assert.deepEqual([told, made.open], [['a ok', 'b not_settled', 'c ok'], 0])
})

test('a result that is not accepted makes the job fail, with the reason', () => {
  const { settler: made, told } = settler(['a'])
  made.confirm(made.take(), [{ status: 'invalid', detail: 'too large' }])
  const [fail] = made.take()
  assert.deepEqual(fail?.settlement, { receipt: 'a', outcome: 'fail', reason: 'result not accepted: too large' })
  made.confirm(fail === undefined ? [] : [fail], [{ status: 'settled', job: 'failed' }])
  assert.deepEqual(told, ['a not_settled'])
})

test('a result that is no JSON is refused on the spot', () => {
  const made = new Settler()
  assert.throws(() => made.add({ receipt: 'a', outcome: 'succeed', result: 1n }, () => undefined), TypeError)
  assert.equal(made.open, 0)
})
