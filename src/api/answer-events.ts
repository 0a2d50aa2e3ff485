/**
 * The answer of a job as events, for whoever cannot read it as a body: it goes on over attempts that broke off, and says so. SSE, or one JSON
 * object per line: `answer` (its head), `data`, `reset` (what came so far is void: begin anew), `end` (with the job's status).
 * `id` is the offset behind the event, so that who was cut off goes on where it was (`Last-Event-ID`, or `offset`).
 */
import { type AnswerOffset, formatOffset, parseOffset } from '../core/jobs/answer-offset.ts'
import type { Jobs } from '../jobs/jobs.ts'
import { ordinaryAnswer, type ReadableAnswer } from '../jobs/readable-answer.ts'
import { isEnded } from '../jobs/watch.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { Call } from '../net/call.ts'
import type { Random } from '../ports/clock.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { PieceEncoder } from './answer-pieces.ts'
import { AnswerPump } from './answer-pump.ts'
import { type DocumentParts, jobHeaders } from './document.ts'
import type { StreamFormat } from './event-stream.ts'
import { eventDocument, reconnectMs } from './job-events.ts'
import { PRIVATE_HEADERS } from './problem.ts'
import { replayHeaders } from './replay.ts'

export interface AnswerEventsParts extends DocumentParts {
  readonly jobs: Pick<Jobs, 'answers' | 'closing' | 'estimate' | 'read' | 'result' | 'waitAnswer' | 'watch'>
  readonly budget: BufferBudget
  readonly random: Random
}

const BEGINNING: AnswerOffset = { answer: 0, bytes: 0 }

/** Where the client is. `over`: it has seen the end of the job as it is. Undefined: it says nothing that is an offset. */
export function seenOf(text: string | undefined, job: StoredJob): AnswerOffset | 'over' | undefined {
  if (text === undefined || text === '') return BEGINNING
  if (isEnded(job.status) && text === endId(job)) return 'over'
  // The end of what it was before it was sent again.
  return /^end-\d+$/.test(text) ? BEGINNING : parseOffset(text)
}

function endId(job: StoredJob): string {
  return `end-${job.version}`
}

export interface AnswerEventsOptions {
  readonly format: StreamFormat
  readonly from: AnswerOffset
  readonly extraHeaders: readonly string[]
}

/** Resolves when the stream has ended, or the client is gone. */
export async function streamAnswerEvents(
  call: Call,
  parts: AnswerEventsParts,
  job: StoredJob,
  options: AnswerEventsOptions,
): Promise<void> {
  const type = options.format === 'sse' ? 'text/event-stream' : 'application/x-ndjson'
  const headers = ['Content-Type', type, ...jobHeaders(job), ...PRIVATE_HEADERS, 'X-Accel-Buffering', 'no', ...options.extraHeaders]
  call.sendHead(200, 'OK', headers, 'chunked')
  if (call.head.method === 'HEAD') return call.end()
  await new AnswerEvents(call, parts, job.id, options).run()
}

type Followed = 'end' | 'broken' | 'left'

class AnswerEvents {
  readonly #call: Call
  readonly #parts: AnswerEventsParts
  readonly #id: string
  readonly #isSse: boolean
  readonly #left = new AbortController()
  #at: AnswerOffset
  #pump: AnswerPump | undefined
  #flowing = true
  #wrote = false

  constructor(call: Call, parts: AnswerEventsParts, id: string, { format, from }: AnswerEventsOptions) {
    this.#call = call
    this.#parts = parts
    this.#id = id
    this.#isSse = format === 'sse'
    this.#at = from
  }

  async run(): Promise<void> {
    const { closing } = this.#parts.jobs
    const leave = (): void => {
      this.#left.abort()
      this.#pump?.leave()
    }
    this.#call.onGone(leave)
    this.#call.onDrain(() => this.#drained())
    closing.addEventListener('abort', leave, { once: true })
    if (closing.aborted || this.#call.gone) leave()
    const unbeat = this.#parts.jobs.watch(this.#id, Number.MAX_SAFE_INTEGER, this.#parts.config.jobs.heartbeatMs, {
      job: () => undefined,
      beat: () => this.#beat(),
    })
    try {
      while (!this.#left.signal.aborted && (await this.#next()));
    } finally {
      unbeat()
      closing.removeEventListener('abort', leave)
    }
    if (this.#call.gone || this.#call.responseEnded) return
    if (closing.aborted) this.#reconnect()
    this.#call.end()
  }

  /** One answer, or the wait for one. False: there is nothing more to tell. */
  async #next(): Promise<boolean> {
    const { jobs } = this.#parts
    const live = jobs.answers.open(this.#id)
    if (live !== undefined) return this.#tell(live)
    const read = await jobs.read(this.#id, 'status')
    if (read === undefined) return false
    if (isEnded(read.job.status)) return this.#tellEnded(read.job)
    await jobs.waitAnswer(this.#id, this.#parts.config.jobs.waitMaxMs, { signal: this.#left.signal })
    return true
  }

  async #tellEnded(job: StoredJob): Promise<boolean> {
    const room = { budget: this.#parts.budget, wanted: () => !this.#left.signal.aborted }
    const taken = await this.#parts.jobs.result({ job }, room)
    // There is no room for it now, or it is not kept any more: who comes back learns which.
    if (taken.kind !== 'result') return false
    const { stream, answer } = taken
    if (stream !== undefined) return this.#tell(stream)
    if (answer !== undefined && job.status === 'succeeded') return this.#tell(ordinaryAnswer(job, answer, () => taken.free()))
    taken.free()
    if (this.#at.answer !== 0) this.#reset(this.#at.answer)
    this.#end(job)
    return false
  }

  async #tell(answer: ReadableAnswer): Promise<boolean> {
    const { number } = answer
    const isOther = this.#at.answer !== 0 && this.#at.answer !== number
    if (isOther || this.#at.bytes > answer.length) this.#reset(this.#at.answer)
    this.#at = { answer: number, bytes: this.#at.bytes }
    if (this.#at.bytes === 0) this.#event('answer', answerDocument(answer))
    const followed = await this.#follow(answer)
    if (followed === 'broken') {
      // Its settlement may be under way still: what comes next is another answer, or the end of the job.
      if (answer.state !== 'broken') return this.#breakOff()
      this.#reset(number)
      return true
    }
    if (followed === 'left') return false
    const read = await this.#parts.jobs.read(this.#id, 'status')
    if (read !== undefined) this.#end(read.job)
    return false
  }

  #follow(answer: ReadableAnswer): Promise<Followed> {
    const encoder = new PieceEncoder()
    return new Promise((resolve) => {
      const data = (piece: ReturnType<PieceEncoder['encode']>): void => {
        if (piece === undefined) return
        this.#at = { answer: this.#at.answer, bytes: this.#at.bytes + piece.bytes }
        this.#event('data', piece.data)
      }
      const sink = {
        bytes: (bytes: Uint8Array) => {
          data(encoder.encode(bytes))
          return this.#flowing
        },
        end: () => {
          data(encoder.end())
          resolve('end')
        },
        broken: () => resolve('broken'),
      }
      this.#pump = new AnswerPump(answer, this.#parts.budget, sink, { from: this.#at.bytes })
      this.#left.signal.addEventListener('abort', () => resolve('left'), { once: true })
      if (this.#left.signal.aborted) {
        this.#pump.leave()
        return resolve('left')
      }
      if (!this.#flowing) this.#pump.hold()
      this.#pump.run()
    })
  }

  #drained(): void {
    this.#flowing = true
    this.#pump?.drained()
  }

  /** What was told of an answer is void. */
  #reset(number: number): void {
    this.#at = BEGINNING
    this.#event('reset', { answer: number })
  }

  #end(job: StoredJob): void {
    this.#event('end', eventDocument(this.#parts, 'end', job), endId(job))
  }

  #event(name: string, document: Readonly<Record<string, unknown>>, id?: string): void {
    const offset = formatOffset(this.#at)
    const data = JSON.stringify({ event: name, offset, ...document })
    this.#write(this.#isSse ? `event: ${name}\nid: ${id ?? offset}\ndata: ${data}\n\n` : `${data}\n`)
  }

  #beat(): void {
    if (this.#flowing && !this.#wrote) this.#write(this.#isSse ? ': heartbeat\n\n' : '{"event":"heartbeat"}\n')
    this.#wrote = false
  }

  #reconnect(): void {
    const retryMs = reconnectMs(this.#parts.random)
    this.#write(this.#isSse ? `retry: ${retryMs}\n\n` : `${JSON.stringify({ event: 'reconnect', retryMs })}\n`)
  }

  #write(text: string): void {
    this.#wrote = true
    this.#flowing = this.#call.write(text)
  }

  #breakOff(): false {
    this.#call.log.error = 'corrupt'
    this.#call.abort()
    return false
  }
}

function answerDocument({ head, job }: ReadableAnswer): Readonly<Record<string, unknown>> {
  const headers = replayHeaders(head.headers)
  const pairs = headers.flatMap((name, i) => (i % 2 === 0 ? [[name, headers[i + 1]]] : []))
  return { attempt: job.attempt, status: head.status, headers: pairs }
}
