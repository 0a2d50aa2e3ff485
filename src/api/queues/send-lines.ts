/**
 * Jobs as NDJSON, as many as the client likes: read, stored and answered at once, in order. A bad line gets `invalid`, the rest go on. What is in
 * memory is one read and a few batches: who does not read the results is not read from.
 */
import type { Bytes } from '../../lib/units.ts'
import type { BodySink, RequestBody } from '../../net/call.ts'
import type { ApiParts } from './parts.ts'
import { storeUnavailable } from './parts.ts'
import { type ApiRequest, LINES_HEADERS, type Outcome, ROOM_WAIT_MS, utf8Of } from './request.ts'
import { type Line, LineSplitter, TOO_LONG } from './lines.ts'
import { type Destination, invalidResult, jobsOf, resultsOf } from './destination.ts'

/** Batches that are on their way to the disk at once. */
const BATCHES_MAX = 4

export function sendLines(request: ApiRequest, parts: ApiParts, destination: Destination): Outcome {
  return { status: 200, headers: LINES_HEADERS, body: answers(request, parts, destination) }
}

async function* answers(request: ApiRequest, parts: ApiParts, destination: Destination): AsyncGenerator<string, void> {
  const pieces = new Pieces(request.body)
  const stream = new LineSender(parts, destination)
  let next: Promise<Uint8Array | undefined> | undefined = pieces.next()
  try {
    while (next !== undefined || stream.head !== undefined) {
      // Whatever comes first: more to send, or a result to tell. With enough on its way, nothing more is read.
      const reading: Promise<Uint8Array | undefined> | undefined = stream.busy ? undefined : next
      const first = await Promise.race([stream.head, reading].filter((each) => each !== undefined))
      if (typeof first === 'string') {
        stream.told()
        yield first
      } else if (first === undefined) {
        next = undefined
        if (!pieces.broken) await stream.end()
      } else if (await stream.take(first)) next = pieces.next()
      else {
        // What was sent before has its results; what comes after this line has none, and the connection ends.
        while (stream.head !== undefined) {
          yield await stream.head
          stream.told()
        }
        return yield NO_ROOM
      }
    }
  } finally {
    pieces.close()
    stream.close()
  }
}

const NO_ROOM =
  '{"status":"refused","limit":"buffered","detail":"The bodies held in memory are at their limit (limits.buffered).","retryAfter":1}\n'

/** Bytes on their way to the store. They count in the budget for bodies from when they are read until they are durable. */
class LineSender {
  readonly #parts: ApiParts
  readonly #destination: Destination
  readonly #splitter: LineSplitter
  readonly #sending: Promise<string>[] = []
  /** Number of the next line, from 1. */
  #number = 1
  /** Counted for a line that has not ended. */
  #held: Bytes = 0

  constructor(parts: ApiParts, destination: Destination) {
    this.#parts = parts
    this.#destination = destination
    this.#splitter = new LineSplitter(parts.config.api.body)
  }

  /** Results of the oldest batch. */
  get head(): Promise<string> | undefined {
    return this.#sending[0]
  }

  get busy(): boolean {
    return this.#sending.length >= BATCHES_MAX
  }

  /** The head has been told. */
  told(): void {
    void this.#sending.shift()
  }

  /** False: there is no room for it in memory, not even after a while. */
  async take(piece: Uint8Array): Promise<boolean> {
    if (!(await this.#room(piece.length))) return false
    const bytes = this.#held + piece.length
    const lines = this.#splitter.push(piece)
    this.#held = this.#splitter.pending
    await this.#send(lines, bytes - this.#held)
    return true
  }

  /** The last line need not be ended. */
  async end(): Promise<void> {
    const bytes = this.#held
    this.#held = 0
    await this.#send(this.#splitter.end(), bytes)
  }

  close(): void {
    this.#parts.budget.give(this.#held)
    this.#held = 0
  }

  async #send(lines: readonly Line[], bytes: Bytes): Promise<void> {
    const { api } = this.#parts.config
    const started: Promise<string>[] = []
    // They are handed to the store one after the other: so they are accepted in their order. In between it is the turn of everybody else.
    for (let at = 0; at < lines.length; at += api.receiveMax) {
      if (at > 0) await new Promise((resolve) => setImmediate(resolve))
      started.push(sendBatch(lines.slice(at, at + api.receiveMax), this.#number + at, this.#parts, this.#destination))
    }
    this.#number += lines.length
    // They are waited for when their turn comes; until then a failure is nobody's surprise.
    void Promise.allSettled(started).then(() => this.#parts.budget.give(bytes))
    this.#sending.push(...started)
  }

  async #room(bytes: Bytes): Promise<boolean> {
    const { budget, clock } = this.#parts
    if (budget.take(bytes)) return true
    return new Promise((resolve) => {
      const timer = clock.after(ROOM_WAIT_MS, () => {
        leave()
        resolve(false)
      })
      const leave = budget.takeLater(bytes, () => {
        timer.cancel()
        resolve(true)
      })
    })
  }
}

/** JSON lines of the results, each ended. `first`: number of its first line, from 1. */
async function sendBatch(lines: readonly Line[], first: number, parts: ApiParts, destination: Destination): Promise<string> {
  const results = new Array<string>(lines.length)
  const documents: unknown[] = []
  const places: number[] = []
  for (const [i, line] of lines.entries()) {
    const document = documentOf(line, parts.config.api.body)
    if (typeof document === 'string') results[i] = invalidResult(`line ${first + i}: ${document}`)
    else {
      documents.push(document.value)
      places.push(i)
    }
  }
  try {
    const sent = await resultsOf(documents, parts, destination, (i) => `line ${first + (places[i] as number)}`)
    for (const [i, place] of places.entries()) results[place] = sent[i] as string
  } catch {
    const { detail, retryAfterSeconds = 1 } = storeUnavailable()
    // Whether they are durable is unknown: the engine failed.
    for (const place of places) {
      results[place] = `{"status":"refused","limit":"store","detail":${JSON.stringify(detail)},"retryAfter":${retryAfterSeconds}}`
    }
  }
  return `${results.join('\n')}\n`
}

/** Or what is wrong with it. */
function documentOf(line: Line, lineBytesMax: Bytes): { readonly value: unknown } | string {
  if (line === TOO_LONG) return `is longer than ${lineBytesMax} bytes (api.body)`
  const text = utf8Of(line)
  const value = text === undefined ? undefined : jobsOf(text)
  return value === undefined ? 'is not valid JSON' : { value }
}

/** A request's body, piece by piece, at the pace of whoever asks. */
class Pieces implements BodySink {
  /** The client has gone in the middle, or broke the framing. */
  broken = false
  readonly #body: RequestBody
  #waiting: ((piece: Uint8Array | undefined) => void) | undefined
  readonly #arrived: Uint8Array[] = []
  #ended = false

  constructor(body: RequestBody) {
    this.#body = body
    body.start(this)
  }

  /** Undefined: that was all. */
  next(): Promise<Uint8Array | undefined> {
    const piece = this.#arrived.shift()
    if (piece !== undefined || this.#ended) return Promise.resolve(piece)
    return new Promise((resolve) => {
      this.#waiting = resolve
      this.#body.resume()
    })
  }

  /** Nobody wants the rest. */
  close(): void {
    this.#ended = true
    this.#arrived.length = 0
  }

  data(chunk: Buffer): boolean {
    if (this.#ended) return true
    const { length } = this.#arrived
    if (this.#waiting === undefined) this.#arrived.push(chunk)
    else {
      const waiting = this.#waiting
      this.#waiting = undefined
      waiting(chunk)
    }
    return length === 0 && this.#waiting !== undefined
  }

  end(): void {
    this.#ended = true
    this.#waiting?.(undefined)
  }

  abort(): void {
    this.broken = true
    this.end()
  }
}
