/**
 * Results on their way to clients. A result takes its place in the gateway's budget for bodies from before it is read until its last
 * byte is written. How large one is shows only when it is read: until then the largest is assumed, and only a few are read at once.
 * One that was stored while it came is not read here: whoever sends it reads it piece by piece.
 */
import type { Config } from '../config/config.ts'
import type { Bytes } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { JobAnswer, JobStore, ReadJob, StoredJob } from '../ports/job-store.ts'
import { type ReadableAnswer, storedAnswer } from './readable-answer.ts'

/** What is being read takes at most this part of the budget: requests and answers of servers need it as well. */
const READING_SHARE = 1 / 4

export interface ResultRoom {
  readonly budget: BufferBudget
  /** False: the client has gone. */
  wanted(): boolean
}

export interface Result {
  readonly kind: 'result'
  readonly job: StoredJob
  /** Undefined: the job ended without one. */
  readonly answer: JobAnswer | undefined
  /** Its body, where it was stored while it came. */
  readonly stream?: ReadableAnswer
  /** What is in memory of it counts here. */
  readonly budget: BufferBudget
  /** The answer is written, or needed no more. */
  free(): void
}

export type TakenResult =
  | Result
  /** The budget is used up. */
  | { readonly kind: 'full' }
  /** The job is no longer kept. */
  | { readonly kind: 'missing' }

export class StoredResults {
  readonly #store: Pick<JobStore, 'read' | 'blobs'>
  readonly #assumed: Bytes
  #turns: number
  readonly #waiting: (() => void)[] = []

  constructor(store: Pick<JobStore, 'read' | 'blobs'>, limits: Pick<Config['limits'], 'result' | 'buffered'>) {
    const share = Math.floor(limits.buffered * READING_SHARE)
    this.#store = store
    this.#assumed = Math.min(limits.result, share)
    this.#turns = Math.max(1, Math.floor(share / Math.max(1, this.#assumed)))
  }

  /** Of a job that has ended. Rejects when the store fails. */
  async take(ended: ReadJob, room: ResultRoom): Promise<TakenResult> {
    if (ended.answer !== undefined || !ended.job.hasAnswer) return this.#placed(ended, room.budget)
    await this.#turn()
    try {
      return room.wanted() && room.budget.take(this.#assumed) ? await this.#read(ended.job.id, room.budget) : { kind: 'full' }
    } finally {
      this.#next()
    }
  }

  async #read(id: string, budget: BufferBudget): Promise<TakenResult> {
    let read: ReadJob | undefined
    try {
      read = (await this.#store.read([id], 'result'))[0]
    } finally {
      budget.give(this.#assumed)
    }
    return read === undefined ? { kind: 'missing' } : this.#placed(read, budget)
  }

  async #placed(read: ReadJob, budget: BufferBudget): Promise<TakenResult> {
    const { job, answer } = read
    if (answer?.blob === undefined) return placed(read, budget)
    const source = await this.#store.blobs.open(job.id, answer.blob)
    if (source === undefined) {
      // It was forgotten just now, or the engine has told its owner what is wrong.
      const kept = (await this.#store.read([job.id], 'status'))[0] !== undefined
      return kept ? placed({ job: { ...job, hasAnswer: false } }, budget) : { kind: 'missing' }
    }
    return { kind: 'result', job, answer, stream: storedAnswer(job, answer, source), budget, free: () => source.close() }
  }

  async #turn(): Promise<void> {
    if (this.#turns > 0) this.#turns--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }

  /** The turn goes to whoever waits longest. */
  #next(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#turns++
    else next()
  }
}

function placed({ job, answer }: ReadJob, budget: BufferBudget): TakenResult {
  let bytes = answer?.body.length ?? 0
  if (!budget.take(bytes)) return { kind: 'full' }
  const free = (): void => {
    budget.give(bytes)
    bytes = 0
  }
  return { kind: 'result', job, budget, answer: answer === undefined ? undefined : { ...answer, body: ownBytes(answer.body) }, free }
}

/** Results that were read together share their memory: a short one would keep all the others for as long as its client reads. */
function ownBytes(body: Uint8Array): Uint8Array {
  return body.length * 2 < body.buffer.byteLength ? Buffer.from(body) : body
}
