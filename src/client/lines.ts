/** A body as lines, as they come. Bounded: a line that is too long, and a sender that is silent for too long, end it. */
import { SpillwayError } from './errors.ts'
import { type OpenAnswer, timedOut } from './open.ts'
import { FOREVER, TimeLimit } from './timing.ts'

export interface LineLimits {
  /** Silence, heartbeats counted as sound. Absent: for ever. */
  readonly idleMs?: number
  readonly lengthMax: number
}

/** Leaving the loop early ends the connection. */
export async function* readLines(answer: OpenAnswer, limits: LineLimits): AsyncGenerator<string, void> {
  const { body } = answer.response
  if (body === null) return answer.done()
  const { idleMs = FOREVER, lengthMax } = limits
  const limit = new TimeLimit(idleMs, () => answer.abort(timedOut(idleMs)))
  const reader = body.getReader()
  const decoder = new TextDecoder()
  const splitter = new LineSplitter()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      limit.restart()
      yield* splitter.push(done ? decoder.decode() : decoder.decode(value, { stream: true }))
      if (splitter.rest.length > lengthMax) throw new SpillwayError('bad_answer', 'a line is too long')
      if (!done) continue
      if (splitter.rest !== '') yield splitter.rest
      return
    }
  } finally {
    limit.clear()
    // Of a body that has been read this ends nothing.
    answer.abort(new SpillwayError('network', 'the reader has left'))
    answer.done()
  }
}

/** Text in pieces, cut anywhere, as lines that end with LF, CR or CRLF. */
export class LineSplitter {
  /** Of a line that has not ended. */
  rest = ''
  /** The last piece ended with a CR: an LF that follows belongs to it. */
  #afterCr = false

  push(text: string): string[] {
    if (text === '') return []
    const fresh = this.#afterCr && text.startsWith('\n') ? text.slice(1) : text
    this.#afterCr = text.endsWith('\r')
    const lines = (this.rest + fresh).split(/\r\n|\n|\r/)
    this.rest = lines.pop() as string
    return lines
  }
}
