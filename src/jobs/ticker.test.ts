import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../../test/support/manual-clock.ts'
import type { JobStore, Tick } from '../ports/job-store.ts'
import { Ticker } from './ticker.ts'

function rig(answers: (Partial<Tick> | Error)[]) {
  const clock = new ManualClock()
  let ticks = 0
  const errors: unknown[] = []
  const tick = async (): Promise<Tick> => {
    ticks++
    const next = answers.shift() ?? {}
    if (next instanceof Error) throw next
    return { ready: [], changed: [], ...next }
  }
  const ticker = new Ticker(
    { tick } as JobStore,
    clock,
    () => undefined,
    (error) => void errors.push(error),
  )
  const pass = async (ms: number): Promise<number> => {
    clock.advance(ms)
    await new Promise((resolve) => setImmediate(resolve))
    return ticks
  }
  return { ticker, pass, errors }
}

test('it ticks when the store says, when something is announced earlier, and at the latest after half a minute', async () => {
  const { ticker, pass } = rig([{ nextMs: 1000 }, {}, {}])
  ticker.start()
  assert.equal(await pass(0), 1)
  assert.equal(await pass(999), 1)
  assert.equal(await pass(1), 2)
  assert.equal(await pass(29_999), 2)
  ticker.within(5000)
  assert.equal(await pass(1), 3)
  ticker.within(5000)
  ticker.within(100)
  ticker.within(7000)
  assert.equal(await pass(100), 4)
})

test('work that is left over is done in steps with a pause between them', async () => {
  const { ticker, pass } = rig([{ nextMs: 0 }, { nextMs: 0 }, {}])
  ticker.start()
  assert.equal(await pass(0), 1)
  assert.equal(await pass(0), 1)
  assert.equal(await pass(5), 2)
  assert.equal(await pass(5), 3)
  assert.equal(await pass(5), 3)
})

test('a store that fails is asked again, and its owner hears of it', async () => {
  const { ticker, pass, errors } = rig([new Error('disk')])
  ticker.start()
  assert.equal(await pass(0), 1)
  assert.equal(errors.length, 1)
  assert.equal(await pass(1000), 2)
})

test('after closing nothing ticks', async () => {
  const { ticker, pass } = rig([])
  ticker.start()
  await pass(0)
  await ticker.close()
  ticker.within(0)
  assert.equal(await pass(60_000), 1)
})
