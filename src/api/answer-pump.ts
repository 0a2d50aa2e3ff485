/**
 * Carries an answer from where it is stored to one reader, at the reader's pace: one piece is in memory at a time, and counts in the budget for
 * bodies until it is taken. What breaks is told at once, also to who takes nothing just now.
 */
import type { ReadableAnswer } from '../jobs/readable-answer.ts'
import type { Bytes } from '../lib/units.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { Call } from '../net/call.ts'

const PIECE_BYTES: Bytes = 64 * 1024

export interface PumpSink {
  /** False: hold back until `drained` is called. */
  bytes(piece: Uint8Array): boolean
  /** That was all that was asked for. */
  end(): void
  /** What was given is no part of an answer any more, or the rest cannot be read. */
  broken(): void
}

export interface PumpRange {
  readonly from: Bytes
  /** The first byte that is not wanted. Absent: all that comes. */
  readonly to?: Bytes
}

export class AnswerPump {
  readonly #answer: ReadableAnswer
  readonly #budget: BufferBudget
  readonly #sink: PumpSink
  readonly #to: Bytes
  readonly #unwatch: () => void
  #at: Bytes
  /** Counted for the piece that is being read or taken. */
  #held: Bytes = 0
  #leaveLine: (() => void) | undefined
  #flowing = true
  #running = false
  #reading = false
  #over = false

  /** The answer is closed when it is over. */
  constructor(answer: ReadableAnswer, budget: BufferBudget, sink: PumpSink, range: PumpRange) {
    this.#answer = answer
    this.#budget = budget
    this.#sink = sink
    this.#at = range.from
    this.#to = range.to ?? Number.POSITIVE_INFINITY
    this.#unwatch = answer.watch(() => this.run())
  }

  /** As far as it gets. */
  run(): void {
    if (this.#answer.state === 'broken') return this.#finish(() => this.#sink.broken())
    if (this.#running || this.#reading) return
    this.#running = true
    while (this.#step());
    this.#running = false
  }

  /** The reader takes nothing yet. */
  hold(): void {
    this.#flowing = false
  }

  /** The reader takes more. */
  drained(): void {
    this.#flowing = true
    this.#release()
    this.run()
  }

  /** Nobody reads any more. */
  leave(): void {
    this.#finish(() => undefined)
  }

  /** False: something has to happen first. */
  #step(): boolean {
    if (this.#over || !this.#flowing) return false
    const { length, state } = this.#answer
    if (this.#at === this.#to || (this.#at >= length && state === 'complete')) this.#finish(() => this.#sink.end())
    if (this.#over || this.#at >= length || !this.#hold(Math.min(PIECE_BYTES, length - this.#at))) return false
    const piece = this.#answer.read(this.#at)
    if (!(piece instanceof Promise)) return this.#give(piece)
    this.#reading = true
    piece.then(
      (read) => {
        this.#reading = false
        if (this.#over || this.#answer.state === 'broken') return this.run()
        this.#give(read)
        this.run()
      },
      () => this.#finish(() => this.#sink.broken()),
    )
    return false
  }

  #give(piece: Uint8Array): boolean {
    const wanted = piece.subarray(0, Math.min(piece.length, this.#to - this.#at))
    this.#at += wanted.length
    this.#flowing = this.#sink.bytes(wanted)
    if (this.#flowing) this.#release()
    return true
  }

  #hold(wanted: Bytes): boolean {
    if (this.#held > 0) return true
    if (this.#leaveLine !== undefined) return false
    const bytes = Math.min(wanted, this.#budget.max)
    if (this.#budget.take(bytes)) {
      this.#held = bytes
      return true
    }
    this.#leaveLine = this.#budget.takeLater(bytes, () => {
      this.#leaveLine = undefined
      this.#held = bytes
      this.run()
    })
    return false
  }

  #release(): void {
    const held = this.#held
    this.#held = 0
    this.#budget.give(held)
  }

  #finish(tell: () => void): void {
    if (this.#over) return
    this.#over = true
    this.#leaveLine?.()
    this.#release()
    this.#unwatch()
    this.#answer.close()
    tell()
  }
}

/** As a body, whose head is sent. */
export function pourAnswer(call: Call, answer: ReadableAnswer, budget: BufferBudget, range: PumpRange): void {
  if (call.head.method === 'HEAD' || call.gone) {
    answer.close()
    return call.end()
  }
  const pump = new AnswerPump(
    answer,
    budget,
    {
      bytes: (piece) => call.write(piece),
      end: () => call.end(),
      broken: () => {
        call.log.error = 'answer_broken'
        call.abort()
      },
    },
    range,
  )
  call.onDrain(() => pump.drained())
  call.onGone(() => pump.leave())
  pump.run()
}
