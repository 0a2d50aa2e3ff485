import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PeakEwma } from './peak-ewma.ts'

test('a request that was given up is news where it is bad news, and nothing else', () => {
  const latency = new PeakEwma()
  latency.observe(100, 0)
  latency.atLeast(99, 0)
  assert.equal(latency.ms(0), 100)
  latency.atLeast(300, 0)
  assert.equal(latency.ms(0), 300)
})

test('of a server of which nothing is known, what it took at least is all there is', () => {
  const latency = new PeakEwma()
  latency.atLeast(50, 0)
  assert.deepEqual([latency.known, latency.ms(0)], [true, 50])
})
