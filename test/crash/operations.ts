/** What a store must be after a crash in the middle of anything: exactly what it was after one of the last operations, and nothing between. */
import assert from 'node:assert/strict'
import { verifyFolder } from '../../src/engines/embedded/offline-work.ts'
import type { JobStore } from '../../src/ports/job-store.ts'
import { systemRandom } from '../../src/ports/system.ts'
import { NO_LIMITS } from '../conformance/rig.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { assertRequestsIntact, difference, hashOf, type State, stateOf } from './operations-state.ts'

export const QUEUES = [
  { name: 'q', limits: NO_LIMITS },
  { name: 'other', limits: NO_LIMITS },
  { name: 'blocking', limits: NO_LIMITS, rules: { onFailure: 'block', overflow: 'refuse' } },
] as const

/** One line of the answers: an operation that was answered, and what the store was then. */
export interface Line {
  readonly name: string
  readonly promises: boolean
  readonly hash: string
  readonly now: number
}

/**
 * The states that a crash may leave, oldest first: from the last operation whose answer was a promise (whatever came before it is on the
 * disk with it), to the one that was under way.
 */
export function allowedAfter(answered: readonly Line[], underWay: Line | undefined): readonly Line[] {
  const last = answered.findLastIndex(({ promises }) => promises)
  return [...answered.slice(Math.max(0, last)), ...(underWay === undefined ? [] : [underWay])]
}

export interface Crash {
  readonly path: string
  readonly now: number
  /** Throws where the state is none of what it may be. */
  readonly check: (state: State) => void
}

/** Opens what a crash left, and checks that it is sound, and what it may be. Gives what it is. */
export async function checkAfterCrash({ path, now, check }: Crash): Promise<State> {
  const corrupt: string[] = []
  const store: JobStore = openInProcess({
    path,
    clock: new ManualClock(now),
    random: systemRandom,
    queues: QUEUES,
    diskFloorBytes: 0,
    // It will not crash again.
    unsafeNoSync: true,
    events: { onCorrupt: (what) => void corrupt.push(what) },
  })
  let state: State
  try {
    state = await stateOf(store)
    check(state)
    await assertRequestsIntact(store)
  } finally {
    await store.close()
  }
  assert.deepEqual(corrupt, [], 'nothing is damaged')
  assertVerified(path)
  return state
}

/** Every checksum, every index against its record and the other way round, and the file's own structure. */
export function assertVerified(path: string): void {
  assert.deepEqual(verifyFolder(path).problems, [], 'a look at everything finds nothing wrong')
}

export function isOneOf(state: State, allowed: readonly Line[], last: State): void {
  const hashes = new Set(allowed.map(({ hash }) => hash))
  assert.ok(
    hashes.has(hashOf(state)),
    `it is as it was after one of the last operations; against the last one:\n${difference(state, last)}`,
  )
}

/** How many lines of the state an operation may change: what it adds, and what it changes or removes. */
const REACH: Readonly<Record<string, { readonly adds: number; readonly changes: number }>> = {
  submit: { adds: 1, changes: 0 },
  batch: { adds: 13, changes: 0 },
  lease: { adds: 0, changes: 5 },
  settle: { adds: 0, changes: 5 },
  cancel: { adds: 0, changes: 1 },
  redrive: { adds: 0, changes: 2 },
  move: { adds: 0, changes: 1 },
  forget: { adds: 0, changes: 2 },
  release: { adds: 0, changes: 2 },
  pause: { adds: 0, changes: 1 },
  resume: { adds: 0, changes: 1 },
  schedule: { adds: 1, changes: 1 },
  task: { adds: 1, changes: 0 },
  backup: { adds: 0, changes: 0 },
}

/** It is the last state, or that and no more of the operation under way than it can have done. Time (`sweep`) may do anything. */
export function isWithinReach(state: State, last: State, underWay: string | undefined): void {
  if (underWay === 'sweep') return
  const reach = REACH[underWay ?? ''] ?? { adds: 0, changes: 0 }
  const name = (line: string): string => line.split(' ').slice(0, 2).join(' ')
  const [is, was] = [new Map(state.map((line) => [name(line), line])), new Map(last.map((line) => [name(line), line]))]
  const added = [...is.keys()].filter((each) => !was.has(each))
  const changed = [...was].filter(([each, line]) => is.get(each) !== line)
  const told = `after ${underWay ?? 'nothing'}:\n${difference(state, last)}`
  assert.ok(added.length <= reach.adds, `no more is there than was accepted ${told}`)
  assert.ok(changed.length <= reach.changes, `nothing else has changed ${told}`)
}
