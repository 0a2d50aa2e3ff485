/**
 * A store as a bad day makes it: calls are rejected before anything was done, or after all of it was (the answer is lost), submissions are
 * refused for want of space, answers are late and overtake each other. It never lies: what it answers is so, and what is done is done
 * in the order of the calls. One seed, one day.
 */
import type { CommandOutcome, JobCommand, JobStore, NewJob, Submitted } from '../../src/ports/job-store.ts'
import type { SeededRandom } from './seeded-random.ts'

/** The engine failed: nobody knows what was done. */
export class InjectedFault extends Error {
  override readonly name = 'InjectedFault'
}

export interface Faults {
  /** Chance of each. */
  readonly before: number
  readonly after: number
  readonly refused: number
  readonly late: number
  /** Whether the answer may be lost; absent: any may. */
  readonly mayLose?: (method: Method, args: readonly unknown[]) => boolean
}

export type FaultKind = 'before' | 'after' | 'refused' | 'late'
export type Method = (typeof METHODS)[number]

const METHODS = [
  'submit',
  'submitWhole',
  'lease',
  'extend',
  'settle',
  'command',
  'read',
  'tick',
  'stats',
  'browse',
  'keys',
  'held',
  'followUps',
  'notes',
  'schedules',
  'tasks',
  'info',
] as const
/** A late answer comes so many turns of the loop later, at most. */
const LATE_TURNS_MAX = 4
const FULL = { kind: 'refused', limit: 'disk', detail: 'injected: no space left' } as const satisfies Submitted & CommandOutcome

/** `onFault` hears of each fault. */
export function faultyStore(store: JobStore, random: SeededRandom, faults: Faults, onFault: (fault: FaultKind) => void): JobStore {
  const chance = (fault: FaultKind): boolean => {
    const happens = random.chance(faults[fault])
    if (happens) onFault(fault)
    return happens
  }
  const wrap =
    (method: Method) =>
    async (...args: readonly unknown[]): Promise<unknown> => {
      // All is drawn at once: what a seed means must not depend on when answers come.
      const turns = chance('late') ? 1 + random.integer(LATE_TURNS_MAX) : 0
      if (chance('before')) return later(turns, () => Promise.reject(new InjectedFault(`${method} failed`)))
      const refusal = refusalOf(method, args)
      if (refusal !== undefined && chance('refused')) return later(turns, () => Promise.resolve(refusal))
      const lost = (faults.mayLose?.(method, args) ?? true) && chance('after')
      const answer = (store[method] as (...args: readonly unknown[]) => Promise<unknown>)(...args)
      await answer.catch(() => undefined)
      return later(turns, async () => {
        const known = await answer
        if (lost) throw new InjectedFault(`${method} failed`)
        return known
      })
    }
  const wrapped = Object.fromEntries(METHODS.map((method) => [method, wrap(method)])) as unknown as Omit<JobStore, 'close'>
  return { ...wrapped, blobs: store.blobs, close: () => store.close() }
}

async function later<T>(turns: number, then: () => Promise<T>): Promise<T> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve))
  return then()
}

/** What a full disk answers; undefined: it is not asked for space. */
function refusalOf(method: Method, args: readonly unknown[]): unknown {
  if (method === 'submit') return (args[0] as readonly NewJob[]).map(() => FULL)
  if (method === 'submitWhole') return { ...FULL, queue: (args[0] as readonly NewJob[])[0]?.queue ?? '' }
  if (method !== 'command') return undefined
  const commands = args[0] as readonly JobCommand[]
  return commands.every(({ kind }) => kind === 'redrive' || kind === 'move') ? commands.map(() => FULL) : undefined
}
