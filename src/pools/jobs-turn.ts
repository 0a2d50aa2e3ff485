/**
 * While requests wait without end jobs would never be worked off: so they have a fifth of the time of one slot. They get it after they had none for so
 * long, and for so many times as long as the last one had it.
 */
import type { Millis, MonotonicMillis } from '../lib/units.ts'
import type { Server } from './server.ts'

const JOBS_TURN_MS: Millis = 1_000
const JOBS_TURN_TIMES = 4

export function isJobsTurn({ jobs, jobsFrom, jobsUntil }: Server, now: MonotonicMillis): boolean {
  return jobs === 0 && now - jobsUntil >= Math.max(JOBS_TURN_MS, JOBS_TURN_TIMES * (jobsUntil - jobsFrom))
}
