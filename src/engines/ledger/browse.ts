/** Looking through jobs in steps of bounded size, by number: which jobs a filter means, and where the next step goes on. */
import { firstSequenceAt } from '../../core/jobs/job-id.ts'
import type { JobRecord } from '../../core/jobs/record.ts'
import type { JobFilter } from '../../ports/job-store.ts'
import type { RecordPage, Tables } from './tables.ts'

/** Jobs that are looked at in one step: some milliseconds. */
export const BROWSE_STEP = 1000

export function meets(filter: JobFilter, record: JobRecord): boolean {
  const { queue, statuses, dead, key, tenant, reference, since, until } = filter
  if (queue !== undefined && record.queue !== queue) return false
  if (statuses !== undefined && !statuses.includes(record.status)) return false
  if (dead !== undefined && (dead === true ? record.dead === undefined : record.dead !== dead)) return false
  if (key !== undefined && record.key !== key) return false
  if (tenant !== undefined && record.tenant !== tenant) return false
  if (reference !== undefined && record.reference !== reference) return false
  return (since === undefined || record.submittedAt >= since) && (until === undefined || record.submittedAt < until)
}

export interface Step {
  readonly filter: JobFilter
  /** Looked at before; undefined: nothing yet. */
  readonly after: number | undefined
  readonly newestFirst: boolean
}

/**
 * The next jobs that may be meant, some of them not. A job's number is never below the first one of the time at which it was accepted
 * (it may be above: the clock went back, or more were accepted than a millisecond has numbers for), so `since` bounds the numbers from below.
 */
export function nextPage(tables: Tables, { filter, after, newestFirst }: Step): RecordPage {
  const from = filter.since === undefined ? 0 : firstSequenceAt(filter.since) - 1
  if (!newestFirst) return tables.recordPage(Math.max(after ?? 0, from), BROWSE_STEP, false)
  const page = tables.recordPage(after ?? Number.MAX_SAFE_INTEGER, BROWSE_STEP, true)
  return page.last !== undefined && page.last <= from ? { ...page, last: undefined } : page
}
