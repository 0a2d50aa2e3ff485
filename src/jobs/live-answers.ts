/**
 * Answers that are handed on while they come. What a server sends goes into a blob, and whoever reads reads the blob: the client that is held,
 * others that watch, fast and slow ones. So nobody holds up anybody else; only the disk can hold up the server.
 *
 * The order of things: that the attempt has begun to answer is durable before anybody gets a byte of it, and its end is told only when blob and
 * settlement are. So after a crash it is known that there was a part, and no end that was seen is ever taken back.
 */
import type { ErrorCode } from '../core/errors.ts'
import { forwardResponseHeaders } from '../core/headers/forward.ts'
import { ByteList } from '../lib/byte-list.ts'
import type { Bytes } from '../lib/units.ts'
import { READ_BYTES } from '../net/read-buffers.ts'
import type { BlobRef, BlobWriter } from '../ports/blobs.ts'
import type { Bus } from '../ports/bus.ts'
import type { AnswerHead, JobId, JobStore, LeaseRef, StoredJob } from '../ports/job-store.ts'
import type { AnswerGiver, AnswerTaker } from '../upstream/upstream.ts'
import type { AnswerState, ReadableAnswer } from './readable-answer.ts'

/** What one may have in memory: a block that fills, two that wait for the disk, and what one read of the server brought. */
const WINDOW_BYTES: Bytes = 192 * 1024 + READ_BYTES

export interface LiveAnswersParts {
  readonly store: Pick<JobStore, 'command' | 'blobs' | 'read'>
  readonly bus: Bus
}

export class LiveAnswers {
  readonly #parts: LiveAnswersParts
  /** To readers: the latest of each job. */
  readonly #answers = new Map<JobId, LiveAnswer>()
  /** Until they are settled: one that has lost its lease may still be there when the next begins. */
  readonly #byFence = new Map<number, LiveAnswer>()

  constructor(parts: LiveAnswersParts) {
    this.#parts = parts
  }

  /** How many are under way. */
  get size(): number {
    return this.#byFence.size
  }

  get readers(): number {
    let readers = 0
    for (const answer of this.#byFence.values()) readers += answer.readers
    return readers
  }

  begin(ref: LeaseRef, head: AnswerHead, giver: AnswerGiver): AnswerTaker {
    const answer = new LiveAnswer(this.#parts, ref, { head, giver, onOver: () => this.#remove(answer) })
    this.#answers.set(ref.id, answer)
    this.#byFence.set(ref.fence, answer)
    return answer
  }

  isOpen(id: JobId): boolean {
    return this.#answers.get(id)?.isReadable === true
  }

  /** The one of which somebody may read now. Close it. */
  open(id: JobId): ReadableAnswer | undefined {
    const answer = this.#answers.get(id)
    return answer?.isReadable === true ? answer.reader() : undefined
  }

  /** Whether it is the job's result. */
  async settled(ref: LeaseRef, counts: 'yes' | 'no' | 'unknown'): Promise<void> {
    const answer = this.#byFence.get(ref.fence)
    if (answer === undefined) return
    if (counts === 'yes') return answer.complete()
    if (counts === 'no') return answer.breakOff()
    const read = await this.#parts.store.read([ref.id], 'status').catch(() => undefined)
    if (read === undefined) return answer.abandon()
    const job = read[0]?.job
    // No other answer of the job ever has its number.
    if (job?.status === 'succeeded' && job.stream?.answers === answer.number) answer.complete()
    else if (job?.status === 'running' && job.stream?.answers === answer.number) answer.abandon()
    else answer.breakOff()
  }

  #remove(answer: LiveAnswer): void {
    this.#byFence.delete(answer.fence)
    if (this.#answers.get(answer.id) === answer) this.#answers.delete(answer.id)
  }
}

interface Begun {
  /** As it came, with what steers the gateway. */
  readonly head: AnswerHead
  readonly giver: AnswerGiver
  readonly onOver: () => void
}

class LiveAnswer implements AnswerTaker {
  begun = false
  readers = 0
  readonly #parts: LiveAnswersParts
  readonly #ref: LeaseRef
  readonly #begun: Begun
  readonly #listeners = new Set<() => void>()
  /** What came before there was a blob. */
  readonly #early = new ByteList()
  readonly #ready: Promise<void>
  #window: { readonly give: () => void } | undefined
  #job: StoredJob | undefined
  #blob: BlobWriter | undefined
  #state: AnswerState = 'open'
  #isOver = false

  constructor(parts: LiveAnswersParts, ref: LeaseRef, begun: Begun) {
    this.#parts = parts
    this.#ref = ref
    this.#begun = begun
    this.#ready = this.#begin()
    this.#ready.catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error)
      begun.giver.failed('store_unavailable' satisfies ErrorCode, `its answer could not be stored: ${why}`)
    })
  }

  get id(): JobId {
    return this.#ref.id
  }

  get fence(): number {
    return this.#ref.fence
  }

  get number(): number | undefined {
    return this.#job?.stream?.answers
  }

  get isReadable(): boolean {
    return this.begun && !this.#isOver
  }

  // --- from the server

  data(chunk: Uint8Array): boolean {
    if (this.#blob === undefined) {
      this.#early.addCopy(chunk)
      return false
    }
    const flowing = this.#blob.append(chunk)
    this.#tell()
    return flowing
  }

  async end(): Promise<BlobRef> {
    await this.#ready
    return (this.#blob as BlobWriter).finish()
  }

  /** What there is of it is no answer. */
  breakOff(): void {
    if (this.#isOver) return
    this.#over('broken')
    void this.#blob?.drop()
  }

  /** It may be one: what is stored stays until it is known. */
  abandon(): void {
    this.#over('broken')
  }

  complete(): void {
    this.#over('complete')
  }

  // --- to readers

  reader(): ReadableAnswer {
    this.readers += 1
    const blob = this.#blob as BlobWriter
    const { head } = this.#begun
    const state = (): AnswerState => this.#state
    let closed = false
    return {
      job: this.#job as StoredJob,
      number: this.number ?? 0,
      head: { ...head, headers: forwardResponseHeaders(head.headers) },
      get length() {
        return blob.length
      },
      get state() {
        return state()
      },
      read: (offset) => blob.read(offset),
      watch: (listener) => {
        this.#listeners.add(listener)
        return () => void this.#listeners.delete(listener)
      },
      close: () => {
        if (closed) return
        closed = true
        this.readers -= 1
        this.#closeUnread()
      },
    }
  }

  async #begin(): Promise<void> {
    await this.#takeWindow()
    if (this.#isOver) return
    const [outcome] = await this.#parts.store.command([{ kind: 'answer', lease: this.#ref }])
    if (this.#isOver) return
    if (outcome?.kind !== 'done' || outcome.job?.stream === undefined) throw new Error('the lease is gone')
    const { job } = outcome
    const blob = await this.#parts.store.blobs.create({ id: job.id, number: outcome.job.stream.answers }, this.#blobEvents)
    this.#blob = blob
    this.#job = job
    if (this.#isOver) {
      await blob.drop()
      return this.#closeUnread()
    }
    this.begun = true
    const flowing = this.#early.pieces().reduce((flows, piece) => blob.append(piece) && flows, true)
    this.#early.clear()
    this.#parts.bus.publish({ kind: 'job', job })
    if (flowing) this.#begun.giver.resume()
  }

  readonly #blobEvents = {
    onDrain: (): void => this.#begun.giver.resume(),
    onFailed: (why: string): void => this.#begun.giver.failed('store_unavailable', `its answer could not be stored: ${why}`),
  }

  /** It counts as a whole from the beginning, in the budget for bodies: whatever comes then has its place. */
  #takeWindow(): Promise<void> {
    const { budget } = this.#begun.giver
    const bytes = Math.min(WINDOW_BYTES, budget.max)
    return new Promise((resolve) => {
      const taken = (): void => {
        this.#window = { give: () => budget.give(bytes) }
        if (this.#isOver) this.#giveWindow()
        resolve()
      }
      if (budget.take(bytes)) return taken()
      const leave = budget.takeLater(bytes, taken)
      this.#window = {
        give: () => {
          leave()
          resolve()
        },
      }
    })
  }

  #giveWindow(): void {
    const window = this.#window
    this.#window = undefined
    window?.give()
  }

  #over(state: AnswerState): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#state = state
    this.#early.clear()
    this.#giveWindow()
    this.#begun.onOver()
    this.#tell()
    this.#closeUnread()
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }

  /** Who is behind still reads what is complete. */
  #closeUnread(): void {
    if (this.#isOver && this.readers === 0) this.#blob?.close()
  }
}
