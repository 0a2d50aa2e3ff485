/** Durations as people write them: `500ms`, `2s`, `5m`, `1h`, `14d`. One number, one unit. */
import type { Millis } from './units.ts'

const UNIT_MS: Readonly<Record<string, Millis>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Undefined: not a duration. */
export function parseDuration(text: string): Millis | undefined {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text)
  return match === null ? undefined : Number(match[1]) * (UNIT_MS[match[2] as string] as Millis)
}
