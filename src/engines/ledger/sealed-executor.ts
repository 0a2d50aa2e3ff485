/**
 * Puts a sealer between the port and an engine. What cannot be opened again is told: a request makes its job a dead letter, which can be
 * redriven when the key is there; an answer is not given out.
 */
import type { LeaseRef } from '../../ports/job-store.ts'
import type { Call, CallKind, CallOf, PackedCommand, PackedJob, PackedLease, PackedRead, PackedSettlement, ReplyByKind } from './calls.ts'
import type { Executor } from './job-store-over.ts'
import type { SealedKind, Sealer } from './sealed.ts'
import type { Payload } from './tables.ts'

/** Jobs of which it was said. */
const SAID_MAX = 1000

export function sealedExecutor(inner: Executor, sealer: Sealer, onCorrupt: (what: string) => void): Executor {
  const seal = new Sealing(inner, sealer, onCorrupt)
  return {
    engine: inner.engine,
    call: <K extends CallKind>(call: CallOf<K> & Call) => seal.call(call) as Promise<ReplyByKind[K]>,
    // They have keys of their own, which the settlement seals.
    blobs: inner.blobs,
    ...(inner.maintain !== undefined && { maintain: inner.maintain.bind(inner) }),
    close: () => inner.close(),
  }
}

class Sealing {
  readonly #inner: Executor
  readonly #sealer: Sealer
  readonly #onCorrupt: (what: string) => void
  readonly #said = new Set<string>()

  constructor(inner: Executor, sealer: Sealer, onCorrupt: (what: string) => void) {
    this.#inner = inner
    this.#sealer = sealer
    this.#onCorrupt = onCorrupt
  }

  async call(call: Call): Promise<unknown> {
    switch (call.kind) {
      case 'submit':
      case 'submitWhole':
        return this.#inner.call({ ...call, jobs: call.jobs.map((job) => this.#job(job)) })
      case 'settle':
        return this.#inner.call({ kind: 'settle', settlements: call.settlements.map((settlement) => this.#settlement(settlement)) })
      case 'command':
        return this.#inner.call({ kind: 'command', commands: call.commands.map((command) => this.#command(command)) })
      case 'lease':
        return Promise.all((await this.#inner.call(call)).map((leases) => this.#openLeases(leases)))
      case 'read':
        return (await this.#inner.call(call)).map((read) => read && this.#openRead(read))
      default:
        return this.#inner.call(call)
    }
  }

  #job(job: PackedJob): PackedJob {
    return { ...job, request: this.#sealer.seal('request', job.request) }
  }

  #settlement(settlement: PackedSettlement): PackedSettlement {
    return settlement.answer === undefined ? settlement : { ...settlement, answer: this.#sealer.seal('answer', settlement.answer) }
  }

  #command(command: PackedCommand): PackedCommand {
    if (command.kind === 'schedule') return { kind: 'schedule', schedule: { ...command.schedule, job: this.#job(command.schedule.job) } }
    if (command.kind !== 'redrive' || command.request === undefined) return command
    return { ...command, request: this.#sealer.seal('request', command.request) }
  }

  async #openLeases(leases: readonly PackedLease[]): Promise<readonly PackedLease[]> {
    const opened: PackedLease[] = []
    const closed: PackedSettlement[] = []
    for (const lease of leases) {
      const request = this.#open('request', lease.ref.id, lease.request)
      if (typeof request === 'string') closed.push(dead(lease.ref, request))
      else opened.push({ ...lease, request })
    }
    if (closed.length > 0) await this.#inner.call({ kind: 'settle', settlements: closed })
    return opened
  }

  #openRead(read: PackedRead): PackedRead {
    const { answer, request, ...rest } = read
    const opened: { answer?: Payload; request?: Payload } = {}
    let { job } = rest
    if (answer !== undefined) {
      const plain = this.#open('answer', job.id, answer)
      if (typeof plain === 'string') job = { ...job, hasAnswer: false }
      else opened.answer = plain
    }
    if (request !== undefined) {
      const plain = this.#open('request', job.id, request)
      if (typeof plain !== 'string') opened.request = plain
    }
    return { ...rest, job, ...opened }
  }

  /** A text: why not. */
  #open(kind: SealedKind, id: string, payload: Payload): Payload | string {
    const opened = this.#sealer.open(kind, payload)
    if ('payload' in opened) return opened.payload
    if (!this.#said.has(id) && this.#said.size < SAID_MAX) {
      this.#said.add(id)
      this.#onCorrupt(`job ${id}: its ${kind === 'answer' ? 'result' : kind}: ${opened.problem}`)
    }
    return opened.problem
  }
}

function dead(lease: LeaseRef, problem: string): PackedSettlement {
  return { kind: 'fail', lease, error: { code: 'corrupt', detail: `Its stored request: ${problem}` }, deadLetter: true }
}
