/** Rates as people write them: `100/s`, `10/1m`, `5000/1h`. So many in so much time; a unit alone stands for one of it. */
import { parseDuration } from './duration.ts'
import type { Millis } from './units.ts'

export interface Rate {
  readonly count: number
  readonly perMs: Millis
}

const COUNT_MAX = 1_000_000_000
const PER_MAX_MS: Millis = 366 * 86_400_000

/** Undefined: not a rate. */
export function parseRate(text: string): Rate | undefined {
  const match = /^(\d{1,10})\/(\d*)(ms|s|m|h|d)$/.exec(text)
  if (match === null) return undefined
  const count = Number(match[1])
  const perMs = parseDuration(`${match[2] === '' ? '1' : match[2]}${match[3]}`)
  if (count < 1 || count > COUNT_MAX || perMs === undefined || perMs < 1 || perMs > PER_MAX_MS) return undefined
  return { count, perMs }
}
