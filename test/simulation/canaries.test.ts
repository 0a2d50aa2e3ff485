/** The simulation finds mistakes: each canary within a few seeds, and every time, because a seed is a history. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AFTERMATH_CANARIES } from './canaries-aftermath.ts'
import { CANARIES, type Canary } from './canaries.ts'
import { failureText } from './failure-text.ts'
import { simulate, type SimulationResult } from './simulate.ts'

const SEEDS_MAX = 60

for (const canary of [...CANARIES, ...AFTERMATH_CANARIES]) {
  test(`it finds ${canary.name}`, async () => {
    const found = await firstFailure(canary)
    assert.ok(found !== undefined, `not found in ${SEEDS_MAX} seeds`)
    assert.ok(canary.foundAs.includes(found.violations[0]?.name ?? ''), failureText(found))
  })
}

async function firstFailure({ options, patch, seed: likely = 1 }: Canary): Promise<SimulationResult | undefined> {
  const undo = patch?.()
  try {
    for (const seed of new Set([likely, ...Array.from({ length: SEEDS_MAX }, (_, i) => i + 1)])) {
      const result = await simulate(seed, options)
      if (result.violations.length > 0) return result
    }
    return undefined
  } finally {
    undo?.()
  }
}
