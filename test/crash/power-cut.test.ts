/**
 * Power cuts. The store's writes and syncs are traced; the disk is rebuilt as it could have been at many moments (what was synced, and any
 * part of what was not), and opened: whatever had been answered before that moment must be true. SOAK=1 tries 600 moments of a longer life instead of 100.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { FULL } from '../soak/form.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { DiskModel } from './disk-model.ts'
import { type Answered, checkAfterCut, Promises } from './power-cut.ts'
import { type FileEvent, straceProblem, tracedRun } from './strace.ts'

const SEED = seedOf()
const CUTS = FULL ? 600 : 100
const ROUNDS = FULL ? 600 : 150
const skip = straceProblem() ?? false

interface Run {
  readonly cuts: number
  readonly failures: readonly Error[]
}

/** Traces one life of a store and cuts its power at `cuts` moments. */
async function cutPower(seed: number, mode: 'sync' | 'nosync', cuts: number, rounds: number): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-power-'))
  try {
    const writer = join(import.meta.dirname, 'power-cut-writer.ts')
    const command = [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      writer,
      join(folder, 'run'),
      String(seed),
      String(rounds),
      mode,
    ]
    const events = await tracedRun(command, folder)
    return await replay(events, folder, new SeededRandom(seed), cuts)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function replay(events: readonly FileEvent[], folder: string, random: SeededRandom, cuts: number): Promise<Run> {
  const disk = new DiskModel()
  const promises = new Promises()
  const moments = pickMoments(events, random, cuts)
  const failures: Error[] = []
  const store = join(folder, 'run', 'store')
  for (const [at, event] of events.entries()) {
    if (event.path.endsWith('/answers')) {
      if (event.kind === 'write') promises.add(JSON.parse(event.data.toString()) as Answered)
    } else disk.apply(event)
    if (!moments.has(at)) continue
    const copy = join(folder, 'cut')
    disk.rebuild(store, copy, random)
    try {
      await checkAfterCut(copy, promises)
    } catch (error) {
      failures.push(new Error(`after event ${at} (${event.kind} ${event.path.slice(folder.length)})`, { cause: error }))
    }
  }
  return { cuts: moments.size, failures }
}

/** Half of them right after an answer, where a lie would show; the others anywhere. */
function pickMoments(events: readonly FileEvent[], random: SeededRandom, cuts: number): ReadonlySet<number> {
  const all = [...events.keys()]
  const answers = all.filter((at) => events[at]?.kind === 'write' && events[at]?.path.endsWith('/answers'))
  const moments = new Set<number>()
  while (moments.size < Math.min(cuts, all.length)) moments.add(random.pick(random.chance(0.5) ? answers : all))
  return moments
}

it(`what was answered before the power was cut is true after it (SEED=${SEED})`, { skip, timeout: 600_000 }, async () => {
  const { cuts, failures } = await cutPower(SEED, 'sync', CUTS, ROUNDS)
  assert.equal(cuts, CUTS)
  if (failures.length > 0)
    throw new AggregateError(failures, `SEED=${SEED}: ${failures.length} of ${cuts} cuts broke a promise`, { cause: failures[0] })
})

it('a store that does not sync is found out', { skip, timeout: 600_000 }, async () => {
  const { failures } = await cutPower(SEED, 'nosync', 30, 80)
  assert.ok(failures.length > 0, `SEED=${SEED}: 30 cuts of a store that never synced broke no promise`)
})
