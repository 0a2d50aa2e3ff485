/**
 * Pull consumers that ask for jobs, and wait for them. First come, first served: of a queue, who waits longest is asked for first, and one
 * question to the store serves several. A lease that was taken for somebody who has left is handed back without counting.
 */
import type { Bytes, EpochMillis, Millis, MonotonicMillis } from '../lib/units.ts'
import { allBuckets } from '../core/jobs/buckets.ts'
import type { Clock, Timer } from '../ports/clock.ts'
import type { JobStore, Lease, LeaseRequest, QueueName } from '../ports/job-store.ts'

const SWEEP_MS: Millis = 50
/** Consumers that one question to the store is for. */
const ASKED_AT_ONCE = 32

export interface ReceiveRequest {
  readonly queue: QueueName
  /** What stands for a server in the job's record. */
  readonly consumer: string
  readonly max: number
  readonly waitMs: Millis
  readonly leaseMs: Millis
}

/** Whoever asks may leave before there is an answer. */
export interface Asker {
  readonly gone: boolean
  onGone(listener: () => void): void
}

export type Received =
  /** `leasedAt`: not later than the store began to count. */
  | { readonly kind: 'received'; readonly leases: readonly Lease[]; readonly leasedAt: EpochMillis }
  /** Too many wait. */
  | { readonly kind: 'full' }
  /** The gateway shuts down: nothing more is handed out. */
  | { readonly kind: 'closing' }
  | { readonly kind: 'gone' }

export interface ReceiverHooks {
  /** The job must not be begun: an attempt of it, or of its key, is still under way here. */
  clashes(lease: Lease): boolean
  handBack(leases: readonly Lease[]): void
  /** Handed out. */
  leased(queue: QueueName, leases: readonly Lease[], leaseMs: Millis): void
  /** The store gave fewer than were asked for. */
  short(queue: QueueName): void
}

export interface ReceiverLimits {
  readonly waitingMax: number
  /** One receive brings no more jobs once their requests weigh so much. */
  readonly bytesMax: Bytes
}

interface Waiter {
  readonly request: LeaseRequest
  readonly until: MonotonicMillis
  left: boolean
  /** The store is asked for it now: what it gives is on its way. */
  asked: boolean
  /** There may be something for it. */
  hungry: boolean
  answer(leases: readonly Lease[], leasedAt?: EpochMillis): void
  fail(error: unknown): void
}

/** Those who wait at one queue. */
interface Desk {
  readonly queue: QueueName
  /** In order of arrival. */
  readonly waiting: Set<Waiter>
  planned: boolean
  leasing: boolean
  wakes: number
}

export class Receivers {
  readonly #store: Pick<JobStore, 'lease'>
  readonly #clock: Clock
  readonly #limits: ReceiverLimits
  readonly #hooks: ReceiverHooks
  readonly #desks = new Map<QueueName, Desk>()
  readonly #buckets = allBuckets()
  #waiting = 0
  #timer: Timer | undefined
  #closed = false

  constructor(store: Pick<JobStore, 'lease'>, clock: Clock, limits: ReceiverLimits, hooks: ReceiverHooks) {
    this.#store = store
    this.#clock = clock
    this.#limits = limits
    this.#hooks = hooks
  }

  waitingAt(queue: QueueName): number {
    return this.#desks.get(queue)?.waiting.size ?? 0
  }

  /** Rejects when the store failed. */
  receive(request: ReceiveRequest, asker: Asker): Promise<Received> {
    if (this.#closed) return Promise.resolve({ kind: 'closing' })
    if (asker.gone) return Promise.resolve({ kind: 'gone' })
    if (this.#waiting >= this.#limits.waitingMax) return Promise.resolve({ kind: 'full' })
    const desk = this.#desk(request.queue)
    const { queue, consumer: server, leaseMs, max } = request
    const { bytesMax } = this.#limits
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        request: { queue, server, buckets: this.#buckets, max, stealUnkeyed: false, leaseMs, bytesMax, keeps: true },
        until: this.#clock.monotonic() + request.waitMs,
        left: false,
        asked: false,
        hungry: true,
        answer: (leases, leasedAt = 0) => {
          this.#remove(desk, waiter)
          resolve(waiter.left ? { kind: 'gone' } : { kind: 'received', leases, leasedAt })
        },
        fail: (error) => {
          this.#remove(desk, waiter)
          reject(error instanceof Error ? error : new Error(String(error)))
        },
      }
      desk.waiting.add(waiter)
      this.#waiting++
      asker.onGone(() => {
        waiter.left = true
        if (!waiter.asked) waiter.answer([])
      })
      this.#timer ??= this.#clock.after(SWEEP_MS, this.#sweep)
      this.#plan(desk)
    })
  }

  /** Something may be ready. */
  wake(queue: QueueName): void {
    const desk = this.#desks.get(queue)
    if (desk === undefined) return
    desk.wakes++
    for (const waiter of desk.waiting) waiter.hungry = true
    this.#plan(desk)
  }

  wakeAll(): void {
    for (const queue of this.#desks.keys()) this.wake(queue)
  }

  /** Whoever waits is answered with what there is; nobody waits any more. */
  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    for (const desk of this.#desks.values()) {
      if (desk.leasing) continue
      for (const waiter of [...desk.waiting]) waiter.answer([])
    }
  }

  #desk(queue: QueueName): Desk {
    let desk = this.#desks.get(queue)
    if (desk === undefined) {
      desk = { queue, waiting: new Set(), planned: false, leasing: false, wakes: 0 }
      this.#desks.set(queue, desk)
    }
    return desk
  }

  #remove(desk: Desk, waiter: Waiter): void {
    if (desk.waiting.delete(waiter)) this.#waiting--
  }

  /** Coalesces: whoever asks in one turn of the event loop is asked for together. */
  #plan(desk: Desk): void {
    if (desk.planned || desk.leasing) return
    desk.planned = true
    setImmediate(() => {
      desk.planned = false
      void this.#pump(desk)
    })
  }

  async #pump(desk: Desk): Promise<void> {
    const asking = this.#asking(desk)
    if (asking.length === 0 || desk.leasing) return
    const { wakes } = desk
    const leasedAt = this.#clock.now()
    desk.leasing = true
    try {
      const answers = await this.#store.lease(asking.map(({ request }) => request))
      desk.leasing = false
      const exact = desk.wakes === wakes
      for (const [i, waiter] of asking.entries()) this.#deliver(desk, waiter, answers[i] ?? [], { exact, leasedAt })
    } catch (error) {
      desk.leasing = false
      for (const waiter of asking) waiter.fail(error)
    }
    if (this.#closed) for (const waiter of [...desk.waiting]) waiter.answer([])
    else this.#plan(desk)
  }

  #asking(desk: Desk): readonly Waiter[] {
    const asking: Waiter[] = []
    for (const waiter of desk.waiting) {
      if (!waiter.hungry) continue
      waiter.hungry = false
      waiter.asked = true
      asking.push(waiter)
      if (asking.length === ASKED_AT_ONCE) break
    }
    return asking
  }

  /** `exact`: nothing was announced meanwhile, so nothing means that there is nothing. */
  #deliver(desk: Desk, waiter: Waiter, leases: readonly Lease[], asked: { readonly exact: boolean; readonly leasedAt: EpochMillis }): void {
    const { max, leaseMs } = waiter.request
    waiter.asked = false
    const good: Lease[] = []
    const clashing: Lease[] = []
    for (const lease of leases) (this.#hooks.clashes(lease) ? clashing : good).push(lease)
    if (clashing.length > 0) this.#hooks.handBack(clashing)
    if (leases.length < max) this.#hooks.short(desk.queue)
    if (waiter.left || this.#closed) {
      if (good.length > 0) this.#hooks.handBack(good)
      return waiter.answer([])
    }
    if (good.length > 0) {
      this.#hooks.leased(desk.queue, good, leaseMs)
      return waiter.answer(good, asked.leasedAt)
    }
    if (!asked.exact || clashing.length > 0) waiter.hungry = true
    else if (waiter.until <= this.#clock.monotonic()) waiter.answer([])
  }

  /** Those whose time is up. While the store is asked for them, they are not: what it gives is theirs. */
  readonly #sweep = (): void => {
    this.#timer = undefined
    if (this.#closed || this.#waiting === 0) return
    const now = this.#clock.monotonic()
    for (const desk of this.#desks.values()) {
      if (desk.leasing || desk.planned) continue
      for (const waiter of desk.waiting) if (waiter.until <= now && !waiter.hungry) waiter.answer([])
    }
    this.#timer = this.#clock.after(SWEEP_MS, this.#sweep)
  }
}
