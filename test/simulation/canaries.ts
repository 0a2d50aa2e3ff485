/** Mistakes made on purpose, each in one place of the gateway or its store: what the simulation must find, every time. */
import type { QueueConfig, RouteConfig } from '../../src/config/config.ts'
import { Line } from '../../src/jobs/line.ts'
import { JobSlots } from '../../src/pools/job-slots.ts'
import { Pool } from '../../src/pools/pool.ts'
import type {
  CommandOutcome,
  JobCommand,
  JobStore,
  Lease,
  LeaseRef,
  NewJob,
  QueueStats,
  ReadJob,
  Settlement,
  SettleOutcome,
  StoredJob,
  Tick,
} from '../../src/ports/job-store.ts'
import type { Scenario } from './scenario.ts'
import { intercept, type StoreMethod } from './intercept.ts'
import type { SimulationOptions } from './simulate.ts'

export interface Canary {
  readonly name: string
  /** What the simulation may call it; the first thing that it notices counts. */
  readonly foundAs: readonly string[]
  readonly options: SimulationOptions
  /** Of a history that shows it, as the gateway is now: looked at first, since others take long to be found. */
  readonly seed?: number
  /** Changes code of the gateway; gives the way back. */
  readonly patch?: () => () => void
}

type Change = (args: readonly unknown[], next: (args: readonly unknown[]) => Promise<unknown>) => Promise<unknown>

/** One method of the store does something else. */
export function broken(method: StoreMethod, make: (store: JobStore) => Change): SimulationOptions {
  return {
    tamper: (store) => {
      const change = make(store)
      return intercept(store, (called, args, next) => (called === method ? change(args, next) : next(args)))
    },
  }
}

/** True every so many times. */
export function every(count: number): () => boolean {
  let left = count
  return () => {
    if (--left > 0) return false
    left = count
    return true
  }
}

function settleIsLost(store: JobStore): Change {
  const now = every(4)
  return async (args, next) => {
    const [settlement] = args[0] as readonly Settlement[]
    if (settlement?.kind !== 'succeed' || !now()) return next(args)
    const [read] = await store.read([settlement.lease.id], 'status')
    if (read?.job.status !== 'running') return next(args)
    const job: StoredJob = { ...read.job, status: 'succeeded', hasAnswer: true, version: read.job.version + 1, finishedAt: 1 }
    return [{ kind: 'settled', job } satisfies SettleOutcome]
  }
}

/** The gateway believes it, the store does not know: the lease ends as that of any other attempt. */
function deferralIsLost(store: JobStore): Change {
  return async (args, next) => {
    const [settlement] = args[0] as readonly Settlement[]
    if (settlement?.kind !== 'defer') return next(args)
    const [read] = await store.read([settlement.lease.id], 'status')
    if (read?.job.status !== 'running') return next(args)
    return [{ kind: 'settled', job: { ...read.job, deferredUntil: 1 } } satisfies SettleOutcome]
  }
}

/** The job succeeds, and is handed out once more. */
function settleDoubles(): Change {
  const now = every(4)
  return async (args, next) => {
    const [settlement] = args[0] as readonly Settlement[]
    if (settlement?.kind !== 'succeed' || !now()) return next(args)
    const outcomes = (await next([[{ kind: 'handBack', lease: settlement.lease, afterMs: 0 }]])) as readonly SettleOutcome[]
    return outcomes.map((outcome) =>
      outcome.kind === 'settled' ? { ...outcome, job: { ...outcome.job, status: 'succeeded', finishedAt: 1 } } : outcome,
    )
  }
}

/** Whoever settles a job that runs is believed. */
function fenceIsNotChecked(): SimulationOptions {
  return {
    tamper: (store) => {
      const live = new Map<string, LeaseRef>()
      return intercept(store, async (method, args, next) => {
        if (method === 'settle') {
          const settlements = args[0] as readonly Settlement[]
          return next([settlements.map((each) => ({ ...each, lease: live.get(each.lease.id) ?? each.lease }))])
        }
        const result = await next(args)
        if (method === 'lease') for (const { ref } of (result as readonly (readonly Lease[])[]).flat()) live.set(ref.id, ref)
        return result
      })
    },
  }
}

/** Two results come from the store, each for the other. */
function resultsAreMixed(): Change {
  let before: ReadJob['answer']
  return async (args, next) => {
    const reads = (await next(args)) as readonly (ReadJob | undefined)[]
    return reads.map((read) => {
      if (read?.answer === undefined) return read
      const other = before
      before = read.answer
      return other === undefined ? read : { ...read, answer: other }
    })
  }
}

/** The last job that was accepted before a crash was not on the disk. */
function lastJobIsLost(): SimulationOptions {
  return {
    tamperTables: (kept) => {
      const { tables, nextGeneration } = kept
      kept.nextGeneration = () => {
        nextGeneration()
        const last = [...tables.records()].at(-1)
        if (last?.status === 'queued' && last.key === undefined) tables.deleteRecord(last)
      }
    },
  }
}

function keyIsOffByOne(): SimulationOptions {
  return {
    tamperTables: ({ tables }) => {
      const first = tables.firstBlocked.bind(tables)
      Object.assign(tables, {
        firstBlocked: (queue: number, key: string) => {
          const real = first(queue, key)
          if (real === undefined) return undefined
          tables.removeBlocked(queue, key, real)
          const second = first(queue, key)
          tables.addBlocked(queue, key, { seq: real, priority: 0 })
          return second ?? real
        },
      })
    },
  }
}

/** Calls of a method that are left out, or changed. */
export function patched<T extends object, K extends keyof T>(target: T, name: K, make: (real: T[K]) => T[K]): () => () => void {
  return () => {
    const real = target[name]
    target[name] = make(real)
    return () => void (target[name] = real)
  }
}

export function submitted(change: (job: NewJob) => NewJob): SimulationOptions {
  return broken('submit', () => (args, next) => next([(args[0] as readonly NewJob[]).map(change)]))
}

export const CANARIES: readonly Canary[] = [
  {
    name: 'a settle that the store forgets',
    foundAs: [
      'an end is an end',
      'what has succeeded is never sent again',
      'succeeded means that the result can be read',
      'counters equal a full look',
      'what follows is one commit with the end',
    ],
    options: broken('settle', settleIsLost),
  },
  {
    name: 'a deferral of which the store is not told',
    seed: 17,
    foundAs: ['a deferred job is left to its server', 'a status is what is', 'leases of a dead process are void'],
    options: broken('settle', deferralIsLost),
  },
  {
    name: 'a settle that hands the job out again',
    foundAs: ['what has succeeded is never sent again', 'an end is an end', 'one live lease at a time'],
    options: broken('settle', settleDoubles),
  },
  {
    name: 'a fence that nobody checks',
    seed: 12,
    foundAs: ['a stale fence changes nothing'],
    // Where consumers take too long, somebody else has their jobs when they settle them.
    options: {
      ...fenceIsNotChecked(),
      change: (scenario) => ({ ...scenario, consumers: 4, lateness: 0.5, intents: 60 }),
    },
  },
  {
    name: 'a fence that begins again after a restart',
    seed: 7,
    foundAs: ['the fence grows'],
    options: { tamperTables: (kept) => void (kept.nextGeneration = once(kept.nextGeneration)) },
  },
  {
    name: 'a wake-up that is skipped',
    foundAs: ['whoever can run is woken'],
    options: {},
    patch: patched(Line.prototype, 'wake', (real) => {
      const now = every(2)
      return function wake(this: Line) {
        if (!now()) real.call(this)
      }
    }),
  },
  {
    name: 'a job that became due, of which the store tells nobody',
    seed: 7,
    foundAs: ['whoever can run is woken'],
    options: broken('tick', () => async (args, next) => ({ ...((await next(args)) as Tick), ready: [] })),
  },
  {
    name: 'a pause that pauses nothing',
    seed: 2,
    foundAs: ['a paused queue hands out nothing'],
    options: {
      ...broken('command', () => async (args, next) => {
        const [command] = args[0] as readonly JobCommand[]
        return command?.kind === 'pause' ? [{ kind: 'done' } satisfies CommandOutcome] : next(args)
      }),
      change: (scenario) => ({ ...scenario, operated: true }),
    },
  },
  {
    name: 'a key that goes to the second who waits, not to the first',
    seed: 6,
    foundAs: ['a key runs in order of acceptance'],
    options: keyIsOffByOne(),
  },
  {
    name: 'a key that is forgotten',
    seed: 6,
    foundAs: ['one live lease per key', 'a key runs in order of acceptance', 'no live request overtakes queued ones of its key'],
    options: submitted(({ key: _, ...job }) => job),
  },
  {
    name: 'a live request that passes queued ones of its key',
    seed: 23,
    foundAs: ['no live request overtakes queued ones of its key'],
    options: {
      ...broken('held', () => async (args, next) => ((await next(args)) as boolean[]).map(() => false)),
      // With one key for all there is often somebody to be passed.
      change: (scenario) => ({ ...scenario, keys: 1 }),
    },
  },
  {
    name: 'an accepted job that a crash loses',
    foundAs: ['accepted jobs are kept', 'nothing is damaged'],
    options: { ...lastJobIsLost(), change: (scenario) => ({ ...scenario, crashes: 6, serverFailures: 8 }) },
  },
  {
    name: 'an idempotency key that is not looked up',
    seed: 2,
    foundAs: ['one job per idempotency key', 'accepted jobs are kept'],
    options: submitted(({ idempotency: _, ...job }) => job),
  },
  {
    name: 'one attempt too many',
    foundAs: ['no more attempts than allowed'],
    options: submitted((job) => ({ ...job, attempts: job.attempts + 1 })),
  },
  {
    name: 'an expiry that is forgotten',
    seed: 6,
    foundAs: ['expired is never delivered'],
    options: { ...submitted(({ expireAfterMs: _, ...job }) => job), change: withQueues({ expireAfterMs: 1500 }) },
  },
  {
    name: 'a job that is to be sent once and is sent again',
    seed: 2,
    foundAs: ['what may be sent only once is not sent again'],
    options: { ...submitted((job) => ({ ...job, sendOnce: false })), change: withRoutes({ redeliver: 'safe' }) },
  },
  {
    name: 'an answer that had begun, of which a crash makes the store forget it',
    seed: 41,
    foundAs: ['an answer that had begun is not begun again'],
    options: {
      tamperTables: ({ tables }) => {
        const update = tables.updateRecord.bind(tables)
        tables.updateRecord = (record) => update({ ...record, answering: undefined })
      },
      change: (scenario) => ({ ...withRoutes({ stream: { onPartial: 'fail' } })(scenario), engine: 'memory', crashes: 12 }),
    },
  },
  {
    name: 'a result that is another’s',
    foundAs: [
      'an answer is what a server answered',
      'a result stays what it is',
      'one result per job',
      'the next job has the result, byte for byte',
      'a webhook has the result, byte for byte',
    ],
    options: broken('read', resultsAreMixed),
  },
  {
    name: 'a counter that is off by one',
    foundAs: ['counters equal a full look'],
    options: broken(
      'stats',
      () => async (args, next) =>
        ((await next(args)) as readonly QueueStats[]).map((stats) => ({
          ...stats,
          counts: { ...stats.counts, succeeded: stats.counts.succeeded + 1 },
        })),
    ),
  },
  {
    name: 'a slot that is not given back',
    foundAs: ['nothing is left over', 'after the faults everything drains', 'whoever can run is woken'],
    options: {},
    patch: patched(Pool.prototype, 'release', (real) => {
      const now = every(20)
      return function release(this: Pool, ...args: Parameters<Pool['release']>) {
        if (!now()) real.apply(this, args)
      }
    }),
  },
  {
    name: 'a slot too many',
    seed: 6,
    foundAs: ['limits hold'],
    options: {},
    patch: patched(JobSlots.prototype, 'take', (real) => {
      return function take(this: JobSlots, ...[server, free]: Parameters<JobSlots['take']>) {
        if (real.call(this, server, free)) return true
        if (!server.taken.take(server.slots + 1)) return false
        server.jobs++
        return true
      }
    }),
  },
]

/** What a canary is about must occur often enough. */
function withQueues(change: Partial<QueueConfig>): (scenario: Scenario) => Scenario {
  return (scenario) => ({
    ...scenario,
    config: { ...scenario.config, queues: scenario.config.queues.map((queue) => ({ ...queue, ...change })) },
  })
}

function withRoutes(change: Partial<RouteConfig>): (scenario: Scenario) => Scenario {
  return (scenario) => ({
    ...scenario,
    config: { ...scenario.config, routes: scenario.config.routes.map((route) => ({ ...route, ...change })) },
  })
}

function once(fn: () => void): () => void {
  let done = false
  return () => {
    if (!done) fn()
    done = true
  }
}
