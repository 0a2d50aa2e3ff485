/** A body as lines, as they come. Bounded: a line that is too long, and a sender that is silent for too long, end it. */
import { SpillwayError } from './errors.ts'
import type { OpenAnswer } from './http.ts'
import { TimeLimit } from './timing.ts'

export interface LineLimits {
  /** Silence, heartbeats counted as sound. Absent: for ever. */
  readonly idleMs?: number
  readonly lengthMax: number
}

/** Leaving the loop early ends the connection. */
export async function* readLines(answer: OpenAnswer, limits: LineLimits): AsyncGenerator<string, void> {
  const { body } = answer.response
  if (body === null) return answer.done()
  const { idleMs, lengthMax } = limits
  const limit =
    idleMs === undefined ? undefined : new TimeLimit(idleMs, () => answer.abort(new SpillwayError('timeout', `silent for ${idleMs} ms`)))
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      limit?.restart()
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true })
      const lines = rest.split(/\r?\n/)
      rest = lines.pop() as string
      yield* lines
      if (rest.length > lengthMax) throw new SpillwayError('bad_answer', `a line of more than ${lengthMax} characters`)
      if (!done) continue
      if (rest !== '') yield rest
      return
    }
  } finally {
    limit?.clear()
    // Of a body that has been read this ends nothing.
    answer.abort(new SpillwayError('network', 'the reader has left'))
    answer.done()
  }
}
