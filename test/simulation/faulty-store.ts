/**
 * The store as a gateway's process has it: one call after another on the store's thread, answers when they are ready, and faults when the
 * world has them: slow, rejected before or after it was done, refused for want of space. Whatever the process did not hear of is done all the same.
 */
import type { JobStore, NewJob, Submitted } from '../../src/ports/job-store.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { intercept } from './intercept.ts'
import type { Process, World } from './world.ts'

export interface StoreFaults {
  /** Rejected, nothing done. */
  before: number
  /** Rejected, and done. */
  after: number
  slow: number
  slowMsMax: number
  refused: number
  /** Answers may overtake each other. */
  unordered: boolean
}

export const NO_STORE_FAULTS: StoreFaults = { before: 0, after: 0, slow: 0, slowMsMax: 0, refused: 0, unordered: false }

const EXECUTE_MS = 1.5
const ANSWER_MS = 1

export function faultyStore(store: JobStore, process: Process, world: World, faults: StoreFaults): JobStore {
  const random = world.stream(7)
  let executedAt = 0
  let answeredAt = 0
  let last: Promise<unknown> = Promise.resolve()

  return intercept(store, (method, args, next) => {
    if (method === 'close') return last.catch(() => undefined).then(() => next(args))
    const fault = draw(random, faults)
    const slow = faults.slow > 0 && random.chance(faults.slow) ? random.unit() * faults.slowMsMax : 0
    executedAt = Math.max(executedAt, world.now + random.unit() * EXECUTE_MS + slow)
    const answer = Promise.withResolvers<unknown>()
    const deliver = (settle: () => void): void => {
      const ready = world.now + random.unit() * ANSWER_MS
      answeredAt = faults.unordered ? ready + random.unit() * 20 : Math.max(answeredAt, ready)
      world.deliverAt(process, answeredAt, settle)
    }
    const fail = (when: string): void => {
      world.history.log(`store ${method} is rejected ${when}`)
      deliver(() => answer.reject(new Error(`simulated fault ${when} ${method}`)))
    }
    world.deliverAt(process, executedAt, () => {
      if (fault === 'before') return fail('before')
      if (method === 'submit' && faults.refused > 0 && random.chance(faults.refused))
        return deliver(() => answer.resolve(refusals(args[0])))
      next(args).then(
        (result) => (fault === 'after' ? fail('after') : deliver(() => answer.resolve(result))),
        (error: unknown) => deliver(() => answer.reject(error as Error)),
      )
    })
    last = answer.promise
    return answer.promise
  })
}

function draw(random: SeededRandom, faults: StoreFaults): 'before' | 'after' | undefined {
  if (faults.before === 0 && faults.after === 0) return undefined
  const unit = random.unit()
  return unit < faults.before ? 'before' : unit < faults.before + faults.after ? 'after' : undefined
}

function refusals(jobs: unknown): readonly Submitted[] {
  return (jobs as readonly NewJob[]).map(() => ({ kind: 'refused', limit: 'disk', detail: 'simulated' }))
}
