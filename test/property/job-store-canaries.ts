/**
 * One liar for each promise: a store that breaks it, and a way to drive any store at random that knows nothing of what is right. Each must
 * be found out by the promise that it breaks, and by no other.
 */
import type { Clock } from '../../src/ports/clock.ts'
import type { JobStore, Lease, LeaseRef, NewJob, StoredJob } from '../../src/ports/job-store.ts'
import type { ManualClock } from '../support/manual-clock.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { Chooser, LEASE_MS, QUEUES } from './job-store-chooser.ts'
import type { InvariantNumber, Invariants } from './job-store-invariants.ts'

/** The same store with every job that it shows changed. */
function showing(store: JobStore, change: (job: StoredJob) => StoredJob): JobStore {
  const inside = <T>(value: T): T => {
    const { job } = value as { readonly job?: StoredJob }
    return job === undefined ? value : { ...value, job: change(job) }
  }
  return {
    ...store,
    submit: async (jobs) => (await store.submit(jobs)).map(inside),
    lease: async (requests) => (await store.lease(requests)).map((leases) => leases.map(inside)),
    settle: async (settlements) => (await store.settle(settlements)).map(inside),
    command: async (commands) => (await store.command(commands)).map(inside),
    read: async (ids, want) => (await store.read(ids, want)).map((read) => read && inside(read)),
    async tick() {
      const tick = await store.tick()
      return { ...tick, changed: tick.changed.map(change) }
    },
    async browse(request) {
      const page = await store.browse(request)
      return { ...page, jobs: page.jobs.map(change) }
    },
  }
}

/** `mistaken`: what was taken for something else, also when the store is opened again. */
interface Liar {
  readonly store: JobStore
  readonly random: SeededRandom
  readonly mistaken: Map<string, NewJob>
}

/** Takes some jobs for others than they are, and shows them as they should be. */
function mistaking(
  { store, random, mistaken }: Liar,
  mistake: (job: NewJob) => NewJob,
  shown: (spec: NewJob, job: StoredJob) => Partial<StoredJob>,
): JobStore {
  const show = (job: StoredJob): StoredJob => {
    const spec = mistaken.get(job.id)
    return spec === undefined ? job : { ...job, ...shown(spec, job) }
  }
  return {
    ...showing(store, show),
    async submit(jobs) {
      const wrong = jobs.map((job) => (random.chance(0.3) ? mistake(job) : job))
      const submitted = await store.submit(wrong)
      return submitted.map((outcome, at) => {
        if (!('job' in outcome)) return outcome
        if (outcome.kind === 'created' && wrong[at] !== jobs[at]) mistaken.set(outcome.job.id, jobs[at] as NewJob)
        return { ...outcome, job: show(outcome.job) }
      })
    },
  }
}

function without<K extends keyof NewJob>(job: NewJob, name: K): NewJob {
  const { [name]: _, ...rest } = job
  return rest as unknown as NewJob
}

/** Confirms a settlement before it is done, and forgets the last one when it is closed. */
function writesBehind(store: JobStore): JobStore {
  let held: { readonly id: string; readonly job: StoredJob; readonly settle: () => Promise<unknown> } | undefined
  const write = async (): Promise<void> => {
    const { settle } = held ?? {}
    held = undefined
    await settle?.()
  }
  const late = Object.fromEntries(
    Object.entries(store).map(([method, call]) => [
      method,
      async (...args: readonly unknown[]) => {
        await write()
        return (call as (...args: readonly unknown[]) => unknown)(...args)
      },
    ]),
  ) as unknown as JobStore
  return {
    ...late,
    async settle(settlements) {
      await write()
      const [settlement] = settlements
      const [read] = settlement === undefined ? [] : await store.read([settlement.lease.id], 'status')
      const isSure =
        settlement?.kind === 'succeed' &&
        read?.job.status === 'running' &&
        (await store.extend([settlement.lease], LEASE_MS))[0] === 'extended'
      if (!isSure || settlements.length > 1) return store.settle(settlements)
      const job: StoredJob = { ...read.job, status: 'succeeded', version: read.job.version + 1, finishedAt: 0 }
      held = { id: job.id, job, settle: () => store.settle(settlements) }
      return [{ kind: 'settled', job }]
    },
    async read(ids, want) {
      const lie = held
      const reads = await store.read(ids, want)
      return reads.map((read) => (read !== undefined && read.job.id === lie?.id ? { ...read, job: lie.job } : read))
    },
    close: () => store.close(),
  }
}

/** Knows the lease of every job that runs, and takes it whatever was shown. */
function trusting(store: JobStore): JobStore {
  const leases = new Map<string, LeaseRef>()
  const known = (ref: LeaseRef): LeaseRef => leases.get(ref.id) ?? ref
  return {
    ...store,
    async lease(requests) {
      const batches = await store.lease(requests)
      for (const { ref } of batches.flat()) leases.set(ref.id, ref)
      return batches
    },
    extend: (refs, forMs) => store.extend(refs.map(known), forMs),
    settle: (settlements) => store.settle(settlements.map((each) => ({ ...each, lease: known(each.lease) }))),
  }
}

function altered(lease: Lease): Lease {
  return { ...lease, request: { ...lease.request, body: Buffer.from('other') } }
}

export interface Canary {
  readonly lie: (liar: Liar) => JobStore
  /** The clock that the engine is given. */
  readonly clock?: (clock: Clock) => Clock
}

export const CANARIES: Readonly<Partial<Record<InvariantNumber, Canary>>> = {
  1: {
    lie: ({ store, random }) => ({
      ...store,
      async submit(jobs) {
        const submitted = await store.submit(jobs)
        for (const outcome of submitted) {
          if (outcome.kind !== 'created' || jobs.length > 1 || jobs[0]?.idempotency !== undefined || !random.chance(0.05)) continue
          await store.command([{ kind: 'cancel', id: outcome.job.id }])
          await store.command([{ kind: 'forget', id: outcome.job.id }])
        }
        return submitted
      },
    }),
  },
  2: {
    lie: ({ store, random }) => ({
      ...store,
      lease: async (requests) =>
        (await store.lease(requests)).map((leases) => leases.map((lease) => (random.chance(0.05) ? altered(lease) : lease))),
    }),
  },
  3: { lie: ({ store }) => writesBehind(store) },
  4: {
    lie: (liar) =>
      mistaking(
        liar,
        (job) => without(job, 'key'),
        ({ key }) => (key === undefined ? {} : { key }),
      ),
  },
  5: {
    lie: (liar) =>
      mistaking(
        liar,
        (job) => ({ ...job, attempts: job.attempts + 1 }),
        ({ attempts }) => ({ attempts }),
      ),
  },
  6: {
    lie: (liar) =>
      mistaking(
        liar,
        (job) => without(job, 'expireAfterMs'),
        ({ expireAfterMs, delayMs = 0 }, { submittedAt }) =>
          expireAfterMs === undefined ? {} : { expiresAt: submittedAt + delayMs + expireAfterMs },
      ),
  },
  7: {
    lie: (liar) =>
      mistaking(
        liar,
        (job) => without(job, 'idempotency'),
        () => ({}),
      ),
  },
  8: {
    lie: ({ store }) => ({
      ...store,
      stats: async () => (await store.stats()).map((each) => ({ ...each, counts: { ...each.counts, queued: each.counts.queued + 1 } })),
    }),
  },
  11: { lie: ({ store }) => trusting(store) },
  12: {
    lie: ({ store }) => store,
    clock: (clock) => ({ now: () => clock.now(), monotonic: () => clock.now(), after: (delay, fn) => clock.after(delay, fn) }),
  },
}

interface Driver {
  readonly invariants: Invariants
  readonly clock: ManualClock
  readonly random: SeededRandom
  /** Opens the store, or opens it again. */
  readonly open: () => JobStore
}

/** Does this and that to a watched store. */
export async function drive({ invariants, clock, random, open }: Driver, steps: number): Promise<void> {
  const choose = new Chooser(random)
  let store = invariants.watch(open())
  let leases: LeaseRef[] = []
  let ids: string[] = []
  const lease = (): LeaseRef | undefined => {
    const ref = random.pick(leases)
    return ref !== undefined && random.chance(0.2) ? { ...ref, secret: `${ref.secret}x` } : ref
  }
  const ways: readonly (() => Promise<unknown>)[] = [
    async () => {
      for (const outcome of await store.submit([choose.job()])) if (outcome.kind === 'created') ids = [...ids, outcome.job.id].slice(-100)
    },
    async () => {
      const [taken = []] = await store.lease([choose.leaseRequest(choose.queue(), 1)])
      leases = [...leases, ...taken.map(({ ref }) => ref)].slice(-20)
    },
    async () => {
      const ref = lease()
      if (ref === undefined) return
      await store.settle([random.chance(0.5) ? { kind: 'succeed', lease: ref, answer: choose.answer() } : choose.settlement(ref)])
      if (random.chance(0.1)) await again()
    },
    async () => {
      clock.advance(random.pick([0, 10, 100, 1000]))
      while ((await store.tick()).nextMs === 0) {}
    },
    async () => {
      if (!random.chance(0.2)) return
      clock.jump(random.pick([-3_600_000, 3_600_000]))
      while ((await store.tick()).nextMs === 0) {}
    },
    async () => {
      const ref = lease()
      if (ref !== undefined) await store.extend([ref], LEASE_MS)
    },
    () => store.read(ids, 'status'),
    () => store.stats(),
    async () => {
      for (const { name } of QUEUES) {
        for (const { key } of await store.keys({ queue: name, blockedOnly: true, max: 10 }))
          await store.command([{ kind: 'release', queue: name, key }])
      }
    },
  ]
  const again = async (): Promise<void> => {
    await store.close()
    store = invariants.watch(open())
    await invariants.reopened()
  }
  try {
    for (let step = 0; step < steps; step++) await random.pick(ways)()
  } finally {
    await store.close()
  }
}
