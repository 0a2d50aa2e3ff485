/**
 * A server that came back after a failure gets its share little by little, of the requests and of its slots: caches are cold, and whatever
 * made it fail may still be there. One that is new begins with all of it.
 */
import type { Millis } from '../../lib/units.ts'

/** From the beginning: with nothing at all nobody would know whether it is well. */
const SHARE_MIN = 0.1

/** From 0.1 to 1, linear in time. `slowStartMs` 0: at once. */
export function slowStartShare(upForMs: Millis, slowStartMs: Millis): number {
  if (upForMs >= slowStartMs) return 1
  return Math.max(SHARE_MIN, upForMs / slowStartMs)
}
