/**
 * Random programs against the naive model: every answer must be the model's, and the promises, checked from what was seen alone, must hold.
 * SEED repeats a run, STEPS (in all, more than 100,000) makes it longer.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { it } from 'node:test'
import { openMemoryStore } from '../../src/engines/memory/memory-store.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { QUEUES } from './job-store-chooser.ts'
import { Invariants } from './job-store-invariants.ts'
import { Program } from './job-store-program.ts'

const STEPS = Number(process.env['STEPS'] ?? 104_000)
/** Those on the memory engine are cheap. */
const MEMORY_STEPS = Math.round(0.7 * STEPS)
const SEED = seedOf()

const OUTCOMES = [
  'created',
  'duplicate',
  'conflict',
  'refused',
  'settled',
  'stale',
  'stolen',
  'blocked',
  'blocks',
  'deferred',
  'repeated',
  'full',
]
const STATUSES = ['queued', 'running', 'retrying', 'succeeded', 'failed', 'cancelled', 'expired']
const DEATHS = ['attempts', 'outcome_unknown', 'server_error', 'poison', 'alive', 'expired', 'deadline', 'overflow']
const SIGHTS = [...OUTCOMES, ...STATUSES, ...DEATHS]

interface Sides {
  readonly clock: ManualClock
  /** Opens the store, or opens it again; absent: it does not outlive its process. */
  open(): JobStore
  readonly durable: boolean
}

async function play(seed: number, steps: number, sides: Sides): Promise<void> {
  const invariants = new Invariants(sides.clock)
  const program = new Program(invariants.watch(sides.open()), sides.clock, new SeededRandom(seed))
  try {
    for (let step = 0; step < steps; step++) {
      await program.step()
      if (step % 50 === 49) await program.compareAll()
      if (sides.durable && program.random.chance(0.004)) {
        await program.store.close()
        program.reopened(invariants.watch(sides.open()))
        await invariants.reopened()
      }
    }
    await program.drain()
    await program.forgetAll()
    if (steps >= 10_000)
      assert.deepEqual(
        SIGHTS.filter((sight) => !invariants.kinds.has(sight)),
        [],
        'the programs reach all of these',
      )
  } catch (error) {
    throw new Error(`SEED=${seed} after ${program.steps} steps: ${program.last}`, { cause: error })
  } finally {
    await program.store.close()
  }
}

/** Tables that hold rows although every job is gone. */
function leftOver(path: string): string[] {
  const db = new DatabaseSync(join(path, 'store.db'), { readOnly: true })
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('meta', 'queues', 'notes')").all()
  const full = tables.map(({ name }) => String(name)).filter((name) => db.prepare(`SELECT 1 FROM ${name} LIMIT 1`).get() !== undefined)
  db.close()
  return full
}

it(`memory does what the model does (SEED=${SEED})`, async () => {
  const clock = new ManualClock()
  const random = new SeededRandom(SEED + 1)
  const open = (): JobStore => openMemoryStore({ clock, random, queues: QUEUES, events: {} })
  await play(SEED, MEMORY_STEPS, { clock, open, durable: false })
})

it(`embedded does what the model does, also when it is opened again and again (SEED=${SEED})`, async () => {
  const path = mkdtempSync(join(tmpdir(), 'spillway-property-'))
  const clock = new ManualClock()
  const random = new SeededRandom(SEED + 2)
  const corrupt: string[] = []
  // Order is what is tested here; what survives a power cut has a test of its own.
  const open = (): JobStore =>
    openInProcess({
      path,
      clock,
      random,
      queues: QUEUES,
      diskFloorBytes: 0,
      unsafeNoSync: true,
      events: { onCorrupt: (what) => void corrupt.push(what) },
    })
  try {
    await play(SEED, STEPS - MEMORY_STEPS, { clock, open, durable: true })
    assert.deepEqual(corrupt, [])
    assert.deepEqual(leftOver(path), [], 'nothing of a job is left when it is gone')
  } finally {
    rmSync(path, { recursive: true, force: true })
  }
})

it('a store that hands out in the wrong order, or loses a settlement, is found out', async () => {
  const lies: ((store: JobStore) => Partial<JobStore>)[] = [
    (store) => ({ lease: async (requests) => (await store.lease(requests)).map((leases) => leases.toReversed()) }),
    (store) => ({
      settle: async (settlements) =>
        settlements.length > 0 && settlements[0]?.kind === 'succeed' ? [{ kind: 'stale' }] : store.settle(settlements),
    }),
    (store) => ({ tick: async () => ({ ...(await store.tick()), changed: [] }) }),
    (store) => ({ tick: async () => ({ ...(await store.tick()), ready: [] }) }),
  ]
  for (const lie of lies) {
    const clock = new ManualClock()
    const random = new SeededRandom(SEED + 3)
    const open = (): JobStore => {
      const store = openMemoryStore({ clock, random, queues: QUEUES, events: {} })
      return { ...store, ...lie(store) }
    }
    await assert.rejects(play(SEED, 5000, { clock, open, durable: false }), /SEED=/)
  }
})
