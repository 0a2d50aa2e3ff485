/**
 * One queue's dispatch over the servers of its pool. Slots are reserved first and leases asked for second, so that only what can be sent
 * is leased; one lease call at a time serves all servers, so that ten thousand submits in a burst cost a handful of calls.
 * Invariants: never more attempts on a server than the queue's concurrency, every reserved slot is released exactly once, and of a key
 * (of a job without one) never two attempts at once: not even where the store has given up a lease whose attempt is still under way here.
 */
import type { QueueConfig } from '../config/config.ts'
import { assignBuckets, BUCKETS, bucketsOf, countBuckets } from '../core/jobs/buckets.ts'
import type { Bytes, Millis, MonotonicMillis } from '../lib/units.ts'
import type { Pool } from '../pools/pool.ts'
import type { PoolChange } from '../pools/pool-types.ts'
import type { Server } from '../pools/server.ts'
import type { Timer } from '../ports/clock.ts'
import type { JobId, Lease, LeaseRef, LeaseRequest, StoredJob } from '../ports/job-store.ts'
import { LIVE_QUIET_MS } from '../core/jobs/drain-pace.ts'
import { type AttemptContext, type AttemptResult, countOutcomes, type Outcomes, type RunningAttempt, startAttempt } from './attempt.ts'
import { Pacing } from './pacing.ts'

/** A lease outlives its attempt by this: time for a slow store to take the settlement. So as a rule none has to be extended. */
export const LEASE_SLACK_MS: Millis = 15_000
/** For how long it is extended where the process was stopped, or the store is slower than that. */
const LEASE_EXTENSION_MS: Millis = 2 * LEASE_SLACK_MS
/** Leases asked for in one request: keeps a transaction, and the bodies that it brings, small. */
const LEASE_BATCH_MAX = 64
const LEASE_RETRY_MS: Millis = 1000
/** A server gets no more jobs at once when their requests weigh so much: all of them are in memory together. */
const LEASE_BYTES_MAX: Bytes = 4 * 1024 * 1024
/** After the grace is over under the panic rule: how soon to look again. */
const PANIC_RECHECK_MS: Millis = 1000
/** Attempts that broke within this time before a server was marked down count as taken back from it. */
const BREAK_MEMORY_MS: Millis = 2000

/** A server as this queue sees it. */
interface Lane {
  readonly server: Server
  readonly running: Set<RunningAttempt>
  /** Slots reserved for leases that are being asked for. */
  reserved: number
  /** Its buckets; undefined while it is not up. */
  buckets: Uint8Array | undefined
  owned: number
  /** There may be something ready in its buckets. */
  hungry: boolean
  grace: Timer | undefined
  broken: number
  brokenAt: MonotonicMillis
}

/** An attempt that is not settled yet. */
interface Running {
  readonly attempt: RunningAttempt
  /** Not before this does the lease end: the store counted from a moment later. */
  leaseUntil: MonotonicMillis
}

interface Ask {
  readonly lane: Lane
  readonly request: LeaseRequest
}

export interface LineHooks {
  /** A job was handed out, or a hand-out was settled. */
  changed(job: StoredJob): void
  ended(job: StoredJob, tookMs: Millis): void
  /** Its end would come too late for who waits for it. */
  isTooLate(job: StoredJob): boolean
  /** A leased job that shall not begin any more. */
  takeBack(lease: Lease): void
  /** The store gave less than was asked for: nothing is ready, or the queue's rules hold it back. */
  short(queue: QueueConfig): void
  /** Something will be due in the store. */
  dueIn(delayMs: Millis): void
}

export class Line {
  #queue: QueueConfig
  readonly #pool: Pool
  readonly #context: AttemptContext
  readonly #hooks: LineHooks
  /** Of the pool's servers, and of those that left it while something of this queue is there. */
  #lanes: readonly Lane[] = []
  readonly #outcomes: Outcomes
  /** Undefined: the queue's jobs give way to nobody. */
  #pacing: Pacing | undefined
  readonly #owners: (Lane | undefined)[] = []
  /** By key; by id for jobs without one. */
  readonly #running = new Map<string, Running>()
  /** While the store is asked for leases: jobs that stopped running meanwhile, with their version. Answers may overtake each other. */
  readonly #left = new Map<JobId, number>()
  readonly #unsubscribe: (() => void)[] = []
  #pumpPlanned = false
  #leasing = false
  #stopped = true
  /** Jobs without a key may be ready in buckets of servers that cannot take more. */
  #stealable = false
  #wakes = 0
  #wakeTimer: Timer | undefined
  #wakeAt: MonotonicMillis = Number.POSITIVE_INFINITY
  #idle: (() => void) | undefined
  #ended: Promise<void> | undefined

  constructor(queue: QueueConfig, pool: Pool, context: AttemptContext, hooks: LineHooks) {
    this.#queue = queue
    this.#pool = pool
    this.#context = context
    this.#hooks = hooks
    this.#outcomes = countOutcomes(context.telemetry.metrics, queue.name)
    this.#pacing = this.#newPacing(queue)
    this.#followMembers()
  }

  start(): void {
    this.#stopped = false
    this.#unsubscribe.push(
      this.#pool.onChange((change) => this.#poolChanged(change)),
      this.#pool.onMembers(() => this.#membersChanged()),
      // Live requests free slots all the time; only where jobs may wait for one is it of interest.
      this.#pool.onSlotFree({
        slotFree: () => {
          if (this.#lanes.some((lane) => lane.hungry)) this.#plan()
        },
        wants: (server) => this.#wants(server),
      }),
    )
    this.#followMembers()
    this.#assign()
    this.wake()
  }

  /** Something may be ready to hand out. */
  wake(): void {
    this.#wakes++
    this.#stealable = true
    for (const lane of this.#lanes) lane.hungry = true
    this.#plan()
  }

  get queue(): QueueConfig {
    return this.#queue
  }

  get pool(): Pool {
    return this.#pool
  }

  /** Holds for what is handed out from now on. */
  reconfigure(queue: QueueConfig): void {
    if (queue.pace?.intervalMs !== this.#queue.pace?.intervalMs) this.#pacing = this.#newPacing(queue)
    this.#queue = queue
    this.wake()
  }

  #newPacing({ pace }: QueueConfig): Pacing | undefined {
    return pace === undefined ? undefined : new Pacing(this.#pool.live, pace.intervalMs, this.#context.clock.monotonic())
  }

  get inFlight(): number {
    return this.#running.size
  }

  /** How many jobs the servers that are up may run at once. */
  get slots(): number {
    return this.#pool.inUse().length * Math.min(this.#queue.concurrency, this.#pool.config.maxInFlight)
  }

  /** Buckets per server, for metrics. */
  owned(): readonly { readonly server: string; readonly buckets: number }[] {
    return this.#lanes.filter(({ server }) => !server.leaving).map((lane) => ({ server: lane.server.name, buckets: lane.owned }))
  }

  /** The store says that the job does not run any more (cancelled, lease lapsed): its attempt is broken off, or never begins. */
  left(job: StoredJob): void {
    if (this.#leasing) this.#left.set(job.id, job.version)
    const attempt = this.#running.get(placeOf(job))?.attempt
    if (attempt?.lease.job.id === job.id && attempt.lease.job.version < job.version) attempt.discard()
  }

  /** To be done before the store looks for lapsed leases: an attempt ends by its own timeout, never because its lease was forgotten. */
  async extendLeases(): Promise<void> {
    const now = this.#context.clock.monotonic()
    const near = [...this.#running.values()].filter(
      // Of one that is deferred the store knows, or hears in a moment, how long it lasts: it must not be made shorter.
      ({ attempt, leaseUntil }) => leaseUntil - now <= LEASE_SLACK_MS && !attempt.deferring,
    )
    if (near.length === 0) return
    const refs = near.map(({ attempt }) => attempt.lease.ref)
    const outcomes = await this.#context.store.extend(refs, LEASE_EXTENSION_MS)
    for (const [i, running] of near.entries()) {
      if (outcomes[i] === 'extended') running.leaseUntil = now + LEASE_EXTENSION_MS
      else running.attempt.discard()
    }
  }

  /** The server asks for more time for an attempt that is under way here. False: it is not. */
  extend(ref: LeaseRef, forMs: Millis): boolean {
    for (const running of this.#running.values()) {
      const { attempt } = running
      if (attempt.lease.ref.fence !== ref.fence || attempt.over) continue
      attempt.extend(forMs)
      running.leaseUntil = this.#context.clock.monotonic() + forMs + LEASE_SLACK_MS
      return true
    }
    return false
  }

  /** Hands out nothing more. Resolves when nothing is in flight. */
  stop(): Promise<void> {
    this.#stopped = true
    for (const unsubscribe of this.#unsubscribe.splice(0)) unsubscribe()
    for (const lane of this.#lanes) lane.grace?.cancel()
    this.#wakeTimer?.cancel()
    this.#ended ??= new Promise((resolve) => {
      this.#idle = resolve
      this.#checkIdle()
    })
    return this.#ended
  }

  /** After `stop`: what still runs is broken off and handed back. */
  abortAll(): void {
    for (const { attempt } of this.#running.values()) {
      attempt.abort('shutting_down', 'The gateway shuts down; the job is handed out again.')
    }
  }

  // --- who gets what

  #poolChanged(change: PoolChange): void {
    const lane = this.#lanes.find((each) => each.server === change.server)
    if (lane === undefined) return
    lane.grace?.cancel()
    lane.grace = undefined
    // On one that is drained they run on.
    if (change.to === 'down' && change.server.state !== 'draining') {
      const graceMs = this.#pool.config.failoverGraceMs
      if (lane.running.size > 0) lane.grace = this.#context.clock.after(graceMs, () => this.#graceOver(lane))
    }
    // It was the only one: nobody knows what it bears.
    if (change.to === 'up' && this.#pool.upServers().length === 1) this.#pacing?.restart(this.#context.clock.monotonic())
    const moved = this.#assign()
    // A server that comes up for the first time takes its share without having failed: no event.
    if (moved.count > 0 && (change.to === 'down' || change.server.returned)) {
      this.#context.telemetry.event({
        type: 'buckets-moved',
        queue: this.#queue.name,
        server: change.server.name,
        moved: moved.count,
        buckets: BUCKETS,
        to: moved.to,
        cause: change.to,
        takenBack: change.to === 'down' ? this.#takenBack(lane, change.cause) : 0,
      })
    }
    lane.broken = 0
    this.wake()
  }

  /** Attempts that the failed connection ended: those that just broke, and those that break now. */
  #takenBack(lane: Lane, cause: PoolChange['cause']): number {
    const recent = this.#context.clock.monotonic() - lane.brokenAt <= BREAK_MEMORY_MS ? lane.broken : 0
    return recent + (cause === 'connection' ? lane.running.size : 0)
  }

  /** The server has been down all the while: its attempts are broken off, unless most servers look bad, which says more about us. */
  #graceOver(lane: Lane): void {
    lane.grace = undefined
    if (this.#stopped || lane.server.state !== 'down' || lane.running.size === 0) return
    if (this.#pool.majorityDown()) {
      lane.grace = this.#context.clock.after(PANIC_RECHECK_MS, () => this.#graceOver(lane))
      return
    }
    for (const attempt of lane.running) {
      attempt.abort(
        'failover',
        `The server was down (${lane.server.downReason}) for longer than the grace of ${this.#pool.config.failoverGraceMs} ms.`,
      )
    }
  }

  #membersChanged(): void {
    this.#followMembers()
    this.#assign()
    this.wake()
  }

  #followMembers(): void {
    const { servers } = this.#pool
    const before = new Map(this.#lanes.map((lane) => [lane.server, lane]))
    const lanes = servers.map((server) => before.get(server) ?? newLane(server))
    for (const lane of lanes) before.delete(lane.server)
    const busy = [...before.values()].filter(({ running, reserved }) => running.size > 0 || reserved > 0)
    this.#lanes = [...lanes, ...busy]
  }

  #assign(): { readonly count: number; readonly to: readonly string[] } {
    const inUse = new Set(this.#pool.inUse())
    // Backups own nothing until they alone are left, and then everything.
    const backups = [...inUse].some(({ backup }) => backup)
    const servers = this.#lanes.map(({ server }) => ({
      name: server.name,
      weight: server.leaving || server.backup !== backups ? 0 : server.configuredWeight,
      up: inUse.has(server),
    }))
    const assigned = assignBuckets(servers)
    const to = new Set<string>()
    let count = 0
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const owner = this.#lanes[assigned[bucket] as number]
      if (owner === this.#owners[bucket]) continue
      this.#owners[bucket] = owner
      count++
      if (owner !== undefined) to.add(owner.server.name)
    }
    for (const [index, lane] of this.#lanes.entries()) {
      lane.buckets = servers[index]?.up === true ? bucketsOf(assigned, index) : undefined
      lane.owned = lane.buckets === undefined ? 0 : countBuckets(lane.buckets)
    }
    return { count, to: [...to] }
  }

  // --- asking the store

  /** Coalesces: however many reasons come in one turn of the event loop (all sockets that were read), one pump follows. */
  #plan(): void {
    if (this.#pumpPlanned || this.#stopped || this.#leasing) return
    this.#pumpPlanned = true
    setImmediate(() => {
      this.#pumpPlanned = false
      void this.#pump()
    })
  }

  async #pump(): Promise<void> {
    if (this.#stopped || this.#leasing) return
    const asks = this.#asks()
    if (asks.length === 0) return
    this.#leasing = true
    const wakes = this.#wakes
    const askedAt = this.#context.clock.monotonic()
    let answers: readonly (readonly Lease[])[] | undefined
    try {
      answers = await this.#context.store.lease(asks.map((ask) => ask.request))
    } catch (error) {
      this.#context.telemetry.event({ type: 'warning', message: `queue ${this.#queue.name}: no leases from the store: ${String(error)}` })
    }
    this.#leasing = false
    const exact = this.#wakes === wakes && answers !== undefined
    for (const [i, ask] of asks.entries()) this.#take(ask, answers?.[i] ?? [], { askedAt, exact })
    this.#left.clear()
    if (answers === undefined) this.#wakeIn(LEASE_RETRY_MS)
    else this.#plan()
    this.#checkIdle()
  }

  /** Own buckets first; servers with room and nothing of their own take jobs without a key where others have no room. */
  #asks(): readonly Ask[] {
    const own: Ask[] = []
    const steal: Ask[] = []
    let backlogElsewhere = false
    const idle: Lane[] = []
    for (const lane of this.#lanes) {
      if (lane.buckets === undefined) continue
      if (!lane.hungry) {
        idle.push(lane)
        continue
      }
      const ask = this.#ask(lane, lane.buckets, false)
      if (ask === undefined) backlogElsewhere = true
      else {
        lane.hungry = false
        own.push(ask)
      }
    }
    if (this.#stealable && backlogElsewhere) {
      for (const lane of idle) {
        const ask = this.#ask(lane, lane.buckets as Uint8Array, true)
        if (ask !== undefined) steal.push(ask)
      }
    }
    return [...own, ...steal]
  }

  /** A slot of this server would be reserved at once. */
  #wants(server: Server): boolean {
    const lane = this.#lanes.find((each) => each.server === server)
    if (lane?.buckets === undefined || !lane.hungry || this.#stopped || this.#leasing) return false
    return this.#allowed(lane) > lane.running.size + lane.reserved
  }

  /** Reserves what the server can take now. Undefined: nothing. */
  #ask(lane: Lane, buckets: Uint8Array, stealUnkeyed: boolean): Ask | undefined {
    const wanted = Math.min(this.#allowed(lane) - lane.running.size - lane.reserved, LEASE_BATCH_MAX)
    let max = 0
    while (max < wanted && this.#pool.reserve(lane.server)) max++
    // What is kept for live requests is free when they have stopped coming, and nobody tells.
    if (max < wanted && this.#pool.freeSlots(lane.server) > 0) this.#wakeIn(LIVE_QUIET_MS)
    if (max === 0) return undefined
    lane.reserved += max
    const leaseMs = this.#queue.timeoutMs + LEASE_SLACK_MS
    return {
      lane,
      request: { queue: this.#queue.name, server: lane.server.name, buckets, max, stealUnkeyed, leaseMs, bytesMax: LEASE_BYTES_MAX },
    }
  }

  #allowed(lane: Lane): number {
    return Math.min(this.#afterStart(lane), this.#atPace(lane))
  }

  /** As many as live requests leave room for. */
  #atPace(lane: Lane): number {
    const { concurrency } = this.#queue
    if (this.#pacing === undefined) return concurrency
    const now = this.#context.clock.monotonic()
    const allowed = this.#pacing.allowed(now, concurrency, this.#running.size > 0)
    if (allowed < concurrency && lane.running.size + lane.reserved >= allowed) this.#wakeIn(this.#pacing.nextMs(now))
    return allowed
  }

  /** The queue's concurrency; less for a server that just came back, rising in even steps. */
  #afterStart(lane: Lane): number {
    const { concurrency } = this.#queue
    const { slowStartMs } = this.#pool.config
    const upFor = this.#context.clock.monotonic() - lane.server.upSince
    if (!lane.server.returned || upFor >= slowStartMs || concurrency === 1) return concurrency
    const stepMs = slowStartMs / concurrency
    const steps = Math.floor(upFor / stepMs)
    if (lane.running.size + lane.reserved >= steps + 1) this.#wakeIn((steps + 1) * stepMs - upFor + 1)
    return Math.min(steps + 1, concurrency)
  }

  /** A pump at a later time, for what no event announces. */
  #wakeIn(delayMs: Millis): void {
    const at = this.#context.clock.monotonic() + delayMs
    if (at >= this.#wakeAt || this.#stopped) return
    this.#wakeAt = at
    this.#wakeTimer?.cancel()
    this.#wakeTimer = this.#context.clock.after(delayMs, () => {
      this.#wakeAt = Number.POSITIVE_INFINITY
      this.#plan()
    })
  }

  /** `exact`: nothing was announced meanwhile, so a short answer means that there is no more. */
  #take(ask: Ask, leases: readonly Lease[], asked: { readonly askedAt: MonotonicMillis; readonly exact: boolean }): void {
    const { lane, request } = ask
    const { askedAt, exact } = asked
    lane.reserved -= request.max
    const full = leases.length === request.max || bytesOf(leases) >= LEASE_BYTES_MAX
    if (!request.stealUnkeyed && (full || !exact)) lane.hungry = true
    if (request.stealUnkeyed && !full && exact) this.#stealable = false
    let unused = request.max
    for (const lease of leases) {
      if ((this.#left.get(lease.job.id) ?? 0) > lease.job.version) continue
      // The server may have gone while the store was asked, or with the attempt before.
      if (this.#stopped || lane.server.state !== 'up' || this.clashes(lease)) this.#handBack(lease)
      else if (this.#hooks.isTooLate(lease.job)) this.#hooks.takeBack(lease)
      else {
        unused--
        this.#run(lane, lease, askedAt + request.leaseMs)
      }
    }
    for (; unused > 0; unused--) this.#pool.releaseJob(lane.server)
    if (leases.length > 0) this.#hooks.dueIn(request.leaseMs)
    if (!full) this.#hooks.short(this.#queue)
  }

  /**
   * An attempt is in the way that has lost its lease, or this one would not be: it is broken off, and this one comes again after it.
   * Whoever else hands out jobs of this queue asks as well.
   */
  clashes(lease: Lease): boolean {
    const attempt = this.#running.get(placeOf(lease.job))?.attempt
    if (attempt === undefined || attempt.over) return false
    attempt.discard()
    return true
  }

  #handBack(lease: Lease): void {
    const settled = this.#context.store.settle([{ kind: 'handBack', lease: lease.ref, afterMs: 0 }])
    // If the store cannot be told, the lease lapses.
    void settled.then(
      () => this.wake(),
      () => undefined,
    )
  }

  // --- running

  #run(lane: Lane, lease: Lease, leaseUntil: MonotonicMillis): void {
    const begunAt = this.#context.clock.monotonic()
    const attempt = startAttempt(
      this.#context,
      { pool: this.#pool, server: lane.server, queue: this.#queue, outcomes: this.#outcomes },
      lease,
    )
    lane.running.add(attempt)
    const place = placeOf(lease.job)
    this.#running.set(place, { attempt, leaseUntil })
    this.#hooks.changed(lease.job)
    void attempt.ended.then(({ broke }) => {
      if (broke) this.#noteBreak(lane)
      lane.running.delete(attempt)
      this.#pool.releaseJob(lane.server)
    })
    void attempt.settled.then((result) => {
      if (this.#running.get(place)?.attempt === attempt) this.#running.delete(place)
      this.#settled(lease, result, this.#context.clock.monotonic() - begunAt)
      this.#checkIdle()
    })
  }

  /** Remembered for the line that tells of the server's failure, which a check finds out a moment later. */
  #noteBreak(lane: Lane): void {
    const now = this.#context.clock.monotonic()
    lane.broken = now - lane.brokenAt <= BREAK_MEMORY_MS ? lane.broken + 1 : 1
    lane.brokenAt = now
  }

  #settled(lease: Lease, result: AttemptResult, tookMs: Millis): void {
    const { job } = result
    if (job === undefined) return this.wake()
    if (job.finishedAt !== undefined) this.#hooks.ended(job, tookMs)
    else if (result.afterMs > 0) this.#hooks.dueIn(result.afterMs)
    const readyNow = job.finishedAt === undefined && result.afterMs === 0
    const { rules, pull } = this.#queue
    // Without a key, the end of a job makes no other one ready, unless there are only so many at once.
    const makesRoom = rules.maxRunning !== undefined || rules.tenantMaxRunning !== undefined
    if (pull && (readyNow || makesRoom || lease.job.key !== undefined)) this.#context.bus.publish({ kind: 'ready', queue: job.queue })
    else if (readyNow || makesRoom) this.wake()
    else if (lease.job.key !== undefined) this.#wakeBucket(lease.job.bucket)
  }

  #wakeBucket(bucket: number): void {
    const lane = this.#owners[bucket]
    if (lane === undefined) return
    this.#wakes++
    lane.hungry = true
    this.#plan()
  }

  #checkIdle(): void {
    if (!this.#stopped || this.#leasing || this.#running.size > 0) return
    this.#idle?.()
  }
}

function newLane(server: Server): Lane {
  const nothing = { reserved: 0, buckets: undefined, owned: 0, hungry: false, grace: undefined, broken: 0, brokenAt: 0 }
  return { server, running: new Set(), ...nothing }
}

/** Where there is room for one attempt at a time. An id has no colon. */
function placeOf(job: StoredJob): string {
  return job.key === undefined ? job.id : `key:${job.key}`
}

function bytesOf(leases: readonly Lease[]): Bytes {
  return leases.reduce((sum, { job }) => sum + job.requestBytes, 0)
}
