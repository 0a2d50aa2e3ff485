/** What a random program does next: jobs, settlements, rules, filters, all from one seed. */
import { createHash } from 'node:crypto'
import { addBucket } from '../../src/core/jobs/buckets.ts'
import type {
  Ending,
  JobAnswer,
  JobFilter,
  JobRequest,
  LeaseRef,
  LeaseRequest,
  NewJob,
  NewTask,
  QueueLimits,
  QueueRules,
  Settlement,
} from '../../src/ports/job-store.ts'
import type { SeededRandom } from '../support/seeded-random.ts'

export const LEASE_MS = 3000
export const JOBS_MAX = 40
const BYTES_MAX = 2 ** 40

const SKIP: QueueRules = { onFailure: 'skip', overflow: 'refuse' }
const BLOCK: QueueRules = { onFailure: 'block', overflow: 'refuse' }
/** Rates in which a millisecond brings a whole binary part of a token, so that no sum is inexact. */
const RATE = { count: 8, perMs: 1024 }
const KEY_RATE = { count: 2, perMs: 1024 }

export const QUEUES: readonly { readonly name: string; readonly limits: QueueLimits; readonly rules: QueueRules }[] = [
  { name: 'q', limits: limits(JOBS_MAX), rules: SKIP },
  { name: 'r', limits: limits(JOBS_MAX), rules: BLOCK },
]

const RULES: readonly QueueRules[] = [
  SKIP,
  BLOCK,
  { ...SKIP, ageingMs: 100 },
  { ...BLOCK, maxRunning: 3 },
  { ...SKIP, rate: RATE },
  { ...SKIP, keyRate: KEY_RATE },
  { ...BLOCK, tenantMaxRunning: 2 },
  { ...SKIP, overflow: 'drop-oldest' },
  { ...SKIP, followUps: true },
  { ...SKIP, sideline: { afterMs: 100, share: 0.2 } },
  { onFailure: 'block', overflow: 'drop-oldest', ageingMs: 50, maxRunning: 6, rate: RATE, keyRate: KEY_RATE, tenantMaxRunning: 3 },
]

/** With halves of characters, which have no UTF-8. */
const KEYS = ['k0', 'k1', 'k2', '', '\ud800', '\ud801']
const TENANTS = ['a', 'b', '\ud800']
const STATUSES = ['queued', 'running', 'retrying', 'succeeded', 'failed', 'cancelled', 'expired'] as const

export class Chooser {
  readonly #random: SeededRandom
  #serial = 0

  constructor(random: SeededRandom) {
    this.#random = random
  }

  queue(): string {
    return this.#random.pick(QUEUES).name
  }

  key(): string {
    return this.#random.pick(KEYS)
  }

  job(): NewJob {
    const random = this.#random
    const again = random.integer(8)
    const idempotency = {
      scopeKey: hash(`s${again}`),
      fingerprint: hash(`f${random.chance(0.8) ? again : 'x'}`),
      keepMs: random.pick([100, 5000]),
    }
    return {
      queue: this.queue(),
      route: 'POST /x',
      request: this.request(),
      priority: random.pick([4, 4, 4, 0, 9]),
      attempts: random.pick([1, 2, 3]),
      keepMs: random.pick([500, 5000]),
      keepDeadMs: random.pick([1000, 30_000]),
      sendOnce: random.chance(0.15),
      ...(random.chance(0.6) && { key: this.key() }),
      ...(random.chance(0.4) && { tenant: random.pick(TENANTS) }),
      ...(random.chance(0.2) && { delayMs: random.pick([1, 300, 2000]) }),
      ...(random.chance(0.2) && { expireAfterMs: random.pick([100, 1000, 5000]) }),
      ...(random.chance(0.15) && { deadlineMs: random.pick([50, 1500, 8000]) }),
      ...(random.chance(0.15) && { idempotency }),
      ...(random.chance(0.2) && { followUp: 'tell' }),
    }
  }

  request(): JobRequest {
    this.#serial += 1
    return { method: 'POST', target: '/x', headers: ['n', String(this.#serial)], body: Buffer.from(`body ${this.#serial}`) }
  }

  answer(): JobAnswer {
    return { status: 200, reason: 'OK', headers: ['a', 'b'], body: this.#random.bytes(this.#random.integer(20)) }
  }

  /** `share` of the buckets. */
  leaseRequest(queue: string, share: number = this.#random.pick([0, 0.4, 1, 1])): LeaseRequest {
    const random = this.#random
    const buckets = new Uint8Array(32)
    if (share === 1) buckets.fill(0xff)
    else if (share > 0) for (let bucket = 0; bucket < 256; bucket++) if (random.chance(share)) addBucket(buckets, bucket)
    const server = `s${random.integer(3)}`
    const request = { queue, server, buckets, max: 1 + random.integer(5), stealUnkeyed: random.chance(0.5), leaseMs: LEASE_MS }
    return { ...request, ...(random.chance(0.2) && { bytesMax: random.pick([1, 100]) }), ...(random.chance(0.2) && { keeps: true }) }
  }

  settlement(lease: LeaseRef): Settlement {
    const random = this.#random
    const error = { code: random.pick(['server_error', 'connect_failed', 'attempt_timeout']), detail: 'd' }
    const answer = random.chance(0.5) ? { answer: this.answer() } : {}
    const afterMs = random.pick([0, 0, 10, 900, 2500])
    const reported = random.chance(0.3) ? { reported: true } : {}
    if (random.chance(0.15)) {
      return {
        kind: 'defer',
        lease,
        forMs: random.pick([300, LEASE_MS, 9000]),
        retryMs: random.pick([0, 800]),
        jobsMax: random.pick([1, 3, 100]),
      }
    }
    const ending = random.pick<Ending>([
      { kind: 'succeed', lease, answer: this.answer() },
      { kind: 'succeed', lease, answer: this.answer() },
      { kind: 'retry', lease, afterMs, error, ...answer },
      { kind: 'retry', lease, afterMs, error, ...answer },
      { kind: 'handBack', lease, afterMs, ...(random.chance(0.5) && { error }), ...answer },
      { kind: 'handBack', lease, afterMs },
      { kind: 'fail', lease, error, deadLetter: random.chance(0.5), ...answer },
      { kind: 'fail', lease, error, deadLetter: true, holdsKey: true, ...answer },
    ])
    return { ...ending, ...reported }
  }

  settings(): { readonly limits: QueueLimits; readonly rules: QueueRules } {
    const jobs = this.#random.pick([5, 20, JOBS_MAX])
    const age = this.#random.chance(0.1) ? { age: 3000 } : {}
    return { limits: { ...limits(jobs), ...age }, rules: this.#random.pick(RULES) }
  }

  filter(now: number): JobFilter {
    const random = this.#random
    return {
      ...(random.chance(0.6) && { queue: this.queue() }),
      ...(random.chance(0.3) && { statuses: STATUSES.filter(() => random.chance(0.5)) }),
      ...(random.chance(0.2) && { dead: random.pick([true, 'attempts', 'expired'] as const) }),
      ...(random.chance(0.2) && { key: this.key() }),
      ...(random.chance(0.2) && { tenant: random.pick(TENANTS) }),
      ...(random.chance(0.2) && { since: now - random.integer(5000) }),
      ...(random.chance(0.2) && { until: now - random.integer(5000) }),
    }
  }

  task(): NewTask {
    const random = this.#random
    const kind = random.pick(['redrive', 'redrive', 'move', 'forget', 'cancel'] as const)
    const { queue = this.queue(), ...rest } = this.filter(0)
    const { since: _, until: __, ...filter } = rest
    const to = kind === 'move' || (kind === 'redrive' && random.chance(0.3)) ? { to: this.queue() } : {}
    return { kind, filter: { queue, ...filter }, ...to, ...(random.chance(0.4) && { perSecond: random.pick([1, 4]) }) }
  }
}

function limits(jobs: number): QueueLimits {
  return { jobs, bytes: BYTES_MAX, finished: BYTES_MAX }
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
