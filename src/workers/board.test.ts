/** What threads count together stays right, whoever takes and gives at the same moment, and whoever dies. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import { Board, Cells } from './board.ts'

const CELL = 7
const MAX = 3
const THREADS = 3
const TURNS = 20_000

const RIVAL = `
import { parentPort, workerData } from 'node:worker_threads'
const { Board } = await import(workerData.module)
const tally = Board.of(workerData.buffer, workerData.worker).tally(${CELL})
let [most, taken] = [0, 0]
for (let turn = 0; turn < ${TURNS}; turn++) {
  if (!tally.take(${MAX})) continue
  taken++
  most = Math.max(most, Atomics.add(workerData.inside, 0, 1) + 1)
  Atomics.sub(workerData.inside, 0, 1)
  tally.give()
}
parentPort.postMessage({ most, taken })
`

test('however many threads take slots at once, never more are taken than there are, and none is lost', async () => {
  const board = Board.create(THREADS)
  const inside = new Int32Array(new SharedArrayBuffer(4))
  const module = new URL('./board.ts', import.meta.url).href
  const ends = Array.from({ length: THREADS }, async (_, n) => {
    const workerData = { buffer: board.buffer, worker: n + 1, inside, module }
    const thread = new Worker(new URL(`data:text/javascript,${encodeURIComponent(RIVAL)}`), { workerData })
    return new Promise<{ most: number; taken: number }>((resolve, reject) => thread.once('message', resolve).once('error', reject))
  })
  for (const { most, taken } of await Promise.all(ends)) {
    assert.ok(most <= MAX, `${most} at once`)
    assert.ok(taken > 0)
  }
  assert.equal(board.tally(CELL).value, 0)
})

test('what each thread has taken adds up, and of one that dies all comes back', () => {
  const step = fc.record({
    thread: fc.integer({ min: 0, max: THREADS }),
    cell: fc.integer({ min: 0, max: 3 }),
    gives: fc.boolean(),
    dies: fc.nat(20),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const chief = Board.create(THREADS)
      const boards = [chief, ...Array.from({ length: THREADS }, (_, n) => Board.of(chief.buffer, n + 1))]
      const had = boards.map(() => [0, 0, 0, 0])
      for (const { thread, cell, gives, dies } of steps) {
        const own = had[thread] as number[]
        const total = had.reduce((sum, each) => sum + (each[cell] as number), 0)
        const tally = (boards[thread] as Board).tally(cell)
        if (dies === 0 && thread > 0) {
          chief.giveBack(thread)
          own.fill(0)
        } else if (!gives) {
          assert.equal(tally.take(MAX), total < MAX)
          if (total < MAX) own[cell] = (own[cell] as number) + 1
        } else if ((own[cell] as number) > 0) {
          tally.give()
          own[cell] = (own[cell] as number) - 1
        }
        for (const [i] of own.entries())
          assert.equal(
            chief.tally(i).value,
            had.reduce((sum, each) => sum + (each[i] as number), 0),
          )
      }
    }),
  )
})

test('a slot that is freed is told once, while somebody waits for one', () => {
  const chief = Board.create(1)
  const [here, there] = [chief.signs(2), Board.of(chief.buffer, 1).signs(2)]
  assert.deepEqual([there.waiting, there.freed()], [false, false])
  here.waits(1)
  assert.deepEqual([there.waiting, there.freed(), there.freed()], [true, true, false])
  here.looks()
  assert.equal(there.freed(), true)
  here.waits(0)
  here.looks()
  assert.deepEqual([there.waiting, there.freed()], [false, false])
  here.isHungry()
  assert.deepEqual([there.waiting, there.freed()], [false, true])
  assert.deepEqual([Board.of(chief.buffer, 1).signs(3).freed()], [false], 'of another pool')
})

test('each server has a cell of its own, the same as long as it is there, and who comes late gets one that is free', () => {
  const cells = new Cells()
  const first = cells.of('a', '1')
  assert.equal(cells.of('a', '1'), first)
  const all = new Set([first])
  let last: number | undefined
  for (let n = 2; (last = cells.of('a', String(n))) !== undefined; n++) all.add(last)
  assert.equal(all.size, 16_383)
  cells.forget('a', '1')
  assert.equal(cells.of('b', '1'), first)
})
