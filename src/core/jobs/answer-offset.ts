/**
 * A place in a streamed answer, as clients get and send it: `<answer>-<bytes>`. The first number counts the attempts of the job that began to
 * answer, so an offset into one that broke off is never taken for one into the next.
 */
import type { Bytes } from '../../lib/units.ts'

export interface AnswerOffset {
  /** 0: whichever there is; only from its beginning. */
  readonly answer: number
  readonly bytes: Bytes
}

const PATTERN = /^([1-9]\d{0,8})-(0|[1-9]\d{0,14})$/

export function formatOffset({ answer, bytes }: AnswerOffset): string {
  return answer === 0 ? '0' : `${answer}-${bytes}`
}

/** Undefined: it is none. A bare number of bytes other than 0 is none: nobody knows of which answer they are. */
export function parseOffset(text: string): AnswerOffset | undefined {
  if (text === '0') return { answer: 0, bytes: 0 }
  const match = PATTERN.exec(text)
  return match === null ? undefined : { answer: Number(match[1]), bytes: Number(match[2]) }
}
