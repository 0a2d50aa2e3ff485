/**
 * A noisy tenant and a hot key are nobody else's trouble. What is counted are hand-outs and operations on tables, never time: a quiet job
 * waits for a few hand-outs of the backlog, and a step costs the same whether some thousand or a hundred thousand wait behind a key.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { Bodies } from '../../src/engines/embedded/bodies.ts'
import { openDatabase } from '../../src/engines/embedded/database.ts'
import { SqliteTables } from '../../src/engines/embedded/sqlite-tables.ts'
import { Ledger } from '../../src/engines/ledger/ledger.ts'
import { packJob } from '../../src/engines/ledger/payload.ts'
import type { Tables } from '../../src/engines/ledger/tables.ts'
import { openMemoryStore } from '../../src/engines/memory/memory-store.ts'
import { MemoryTables } from '../../src/engines/memory/memory-tables.ts'
import { systemRandom } from '../../src/ports/system.ts'
import type { JobStore, Lease, NewJob, QueueRules } from '../../src/ports/job-store.ts'
import { ANSWER, leaseRequest, newJob, NO_LIMITS, NO_RULES } from '../conformance/rig.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { ManualClock } from '../support/manual-clock.ts'

const BACKLOG = 100_000
const QUIET_TENANTS = 10
const QUIET_JOBS = 10
/** Of the backlog's hand-outs. */
const SHARE_MAX = 0.02
const BATCH = 1000
const RUNNING = 16

interface Engine {
  open(rules: QueueRules): JobStore
  dispose(): void
}

const ENGINES: Readonly<Record<string, () => Engine>> = {
  memory() {
    const clock = new ManualClock()
    return {
      open: (rules) => openMemoryStore({ clock, random: systemRandom, queues: [{ name: 'q', limits: NO_LIMITS, rules }], events: {} }),
      dispose() {},
    }
  },
  embedded() {
    const path = mkdtempSync(join(tmpdir(), 'spillway-fair-'))
    const options = { path, clock: new ManualClock(), random: systemRandom, diskFloorBytes: 0, unsafeNoSync: true }
    return {
      open: (rules) => openInProcess({ ...options, queues: [{ name: 'q', limits: NO_LIMITS, rules }] }),
      dispose: () => rmSync(path, { recursive: true, force: true }),
    }
  },
}

async function submitMany(store: JobStore, count: number, jobOf: (n: number) => NewJob): Promise<void> {
  for (let at = 0; at < count; at += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, count - at) }, (_, n) => jobOf(at + n))
    for (const { kind } of await store.submit(batch)) assert.equal(kind, 'created')
  }
}

/** Hands out job after job to servers that work on some at a time, until `isEnough`. Says who was handed out, in order. */
async function drain(store: JobStore, isEnough: (lease: Lease) => boolean): Promise<readonly Lease[]> {
  const order: Lease[] = []
  const running: Lease[] = []
  for (let left = BACKLOG * 2; left > 0; left--) {
    const done = running.length < RUNNING ? undefined : running.shift()
    if (done !== undefined) await store.settle([{ kind: 'succeed', lease: done.ref, answer: ANSWER }])
    const [leases = []] = await store.lease([leaseRequest({ max: 1 })])
    const [lease] = leases
    if (lease === undefined) return order
    order.push(lease)
    running.push(lease)
    if (isEnough(lease)) return order
  }
  return order
}

/** The last quiet job is handed out after so many hand-outs. */
async function quietAfter(store: JobStore, options: Partial<NewJob> = {}): Promise<number> {
  await submitMany(store, QUIET_TENANTS * QUIET_JOBS, (n) => newJob({ tenant: `quiet ${n % QUIET_TENANTS}`, ...options }))
  let left = QUIET_TENANTS * QUIET_JOBS
  const order = await drain(store, ({ job }) => {
    if (job.tenant !== 'noisy') left -= 1
    return left === 0
  })
  assert.equal(left, 0, 'all quiet jobs were handed out')
  assert.ok(order.filter(({ job }) => job.tenant === 'noisy').length > 0, 'and the noisy one was not stopped')
  return order.length
}

for (const [name, make] of Object.entries(ENGINES)) {
  describe(name, () => {
    it('ten quiet tenants are served within 2 % of a noisy one’s backlog of 100,000, whatever its priority', async () => {
      const engine = make()
      let store = engine.open(NO_RULES)
      try {
        await submitMany(store, BACKLOG, (n) => newJob({ tenant: 'noisy', priority: 9, ...(n % 2 === 0 && { key: `noisy ${n % 100}` }) }))
        const most = SHARE_MAX * (BACKLOG + QUIET_TENANTS * QUIET_JOBS)
        for (const priority of [4, 0]) {
          const after = await quietAfter(store, { priority })
          assert.ok(after <= most, `after ${after} hand-outs, at most ${most}`)
        }
        if (name === 'embedded') {
          await store.close()
          store = engine.open(NO_RULES)
          assert.ok((await quietAfter(store)) <= most, 'after a restart too')
        }
      } finally {
        await store.close()
        engine.dispose()
      }
    })

    it('under a limit of jobs that run at once, and a rate, quiet tenants are served within 2 % all the same', async () => {
      const engine = make()
      const store = engine.open({ ...NO_RULES, maxRunning: RUNNING, tenantMaxRunning: RUNNING / 2, ageingMs: 1000 })
      try {
        await submitMany(store, BACKLOG / 10, () => newJob({ tenant: 'noisy', priority: 9 }))
        assert.ok((await quietAfter(store)) <= SHARE_MAX * BACKLOG)
      } finally {
        await store.close()
        engine.dispose()
      }
    })

    it('a key with 100,000 jobs leaves the order of all others as it is', async () => {
      const engine = make()
      const store = engine.open(NO_RULES)
      try {
        await submitMany(store, BACKLOG, () => newJob({ key: 'hot', priority: 9 }))
        const others: string[] = []
        for (const batch of [0, 1]) {
          const jobs = Array.from({ length: 100 }, (_, n) => newJob(n % 2 === 0 ? { key: `cold ${batch} ${n}` } : {}))
          for (const outcome of await store.submit(jobs)) if (outcome.kind === 'created') others.push(outcome.job.id)
        }
        let left = others.length
        const order = await drain(store, ({ job }) => {
          if (job.key !== 'hot') left -= 1
          return left === 0
        })
        const cold = order.filter(({ job }) => job.key !== 'hot').map(({ ref }) => ref.id)
        assert.deepEqual(cold, others)
        // The hot key has one job at work at a time, so it can go again only when that one is done.
        assert.ok(order.length <= others.length * (1 + 2 / RUNNING), `${order.length} hand-outs for ${others.length} jobs`)
      } finally {
        await store.close()
        engine.dispose()
      }
    })
  })
}

/** A tables that counts what is asked of it. */
function counting(tables: Tables): { readonly tables: Tables; readonly count: () => number } {
  let count = 0
  const counted = new Proxy(tables, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return (...args: readonly unknown[]) => {
        count += 1
        return Reflect.apply(value, target, args) as unknown
      }
    },
  })
  return { tables: counted, count: () => count }
}

interface Bench {
  readonly tables: Tables
  transaction<T>(work: () => T): T
  dispose(): void
}

const TABLES: Readonly<Record<string, () => Bench>> = {
  memory: () => ({ tables: new MemoryTables(), transaction: (work) => work(), dispose() {} }),
  embedded() {
    const path = mkdtempSync(join(tmpdir(), 'spillway-ops-'))
    const db = openDatabase(path)
    db.exec('PRAGMA synchronous = OFF')
    const tables = new SqliteTables(db, new Bodies(path), (what) => assert.fail(what))
    return {
      tables,
      transaction(work) {
        db.exec('BEGIN')
        const result = work()
        db.exec('COMMIT')
        return result
      },
      dispose() {
        db.close()
        rmSync(path, { recursive: true, force: true })
      },
    }
  },
}

/** Operations on tables of each step: leases and settlements of a hot key with so many jobs, and of others beside it. */
function operations(make: () => Bench, crowd: number): readonly number[] {
  const bench = make()
  const { tables, count } = counting(bench.tables)
  let now = Date.UTC(2030, 0, 1)
  const secret = (): string => systemRandom.bytes(16).toString('base64url')
  const inLedger = <T>(work: () => T): T => {
    ledger.begin({ now, monotonic: now, secret })
    const result = work()
    ledger.commit()
    return result
  }
  const step = <T>(work: () => T): T => bench.transaction(() => inLedger(work))
  const ledger = bench.transaction(
    () => new Ledger(tables, { queues: [{ name: 'q', limits: NO_LIMITS }], onCorrupt: (what) => assert.fail(what) }),
  )
  step(() => {
    for (let n = 0; n < crowd; n++) ledger.submit(packJob(newJob({ key: 'hot' })))
    for (let n = 0; n < 20; n++) ledger.submit(packJob(newJob(n % 2 === 0 ? { key: `cold ${n}` } : {})))
  })
  const costs: number[] = []
  const measured = <T>(work: () => T): T => {
    const before = count()
    const result = step(work)
    costs.push(count() - before)
    return result
  }
  for (let round = 0; round < 5; round++) {
    now += 1
    const leases = measured(() => ledger.lease(leaseRequest({ max: 3 })))
    for (const { ref: lease } of leases) {
      measured(() => ledger.settle({ kind: 'retry', lease, afterMs: 0, error: { code: 'server_error', detail: '' } }))
    }
    for (const { ref: lease } of measured(() => ledger.lease(leaseRequest({ max: 3 })))) {
      measured(() => ledger.settle({ kind: 'fail', lease, error: { code: 'server_error', detail: '' }, deadLetter: false }))
    }
    measured(() => ledger.tick())
    measured(() => ledger.stats())
  }
  bench.dispose()
  return costs
}

for (const [name, make] of Object.entries(TABLES)) {
  it(`${name}: a step costs as many operations with 100,000 jobs behind a key as with some thousand`, () => {
    // More than the ledger remembers of what it saw last, so that records have to be read in both.
    const few = operations(make, 5000)
    assert.ok(few.length > 30 && few.every((cost) => cost > 0 && cost < 200), few.join(' '))
    assert.deepEqual(operations(make, BACKLOG), few)
  })
}

it('a store that serves tenants in order of arrival is found out', async () => {
  const engine = ENGINES['memory']?.() ?? assert.fail()
  const real = engine.open(NO_RULES)
  const store: JobStore = {
    ...real,
    submit: (jobs) => real.submit(jobs.map((job) => ({ ...job, tenant: 'all', reference: job.tenant ?? '' }))),
  }
  await submitMany(store, BACKLOG / 10, () => newJob({ tenant: 'noisy' }))
  await submitMany(store, QUIET_JOBS, () => newJob({ tenant: 'quiet' }))
  const order = await drain(store, ({ job }) => job.reference === 'quiet')
  assert.ok(order.length > SHARE_MAX * (BACKLOG / 10))
  await store.close()
})
