/** The story of a job's hand-outs: what is told of one when it is over. The last one of an ended job is told by its record alone. */
import type { EpochMillis } from '../../lib/units.ts'
import type { AttemptRecord } from '../../ports/job-store.ts'
import { type JobEvent, lapseErrorOf } from './machine.ts'
import { type JobError, type JobRecord, placeOf } from './record.ts'

/** A hand-out that is over and that the record will not tell of. undefined: the event ended none such. */
export function handOutOver(before: JobRecord, event: JobEvent, after: JobRecord, now: EpochMillis): AttemptRecord | undefined {
  const to = placeOf(after)
  if (placeOf(before) !== 'running' || to === 'running') return undefined
  // A record tells of the hand-out that ended it, but not of one that came back too late to be made again.
  if (to === 'ended' && after.attemptAt !== undefined) return undefined
  const counted = after.counted > before.counted
  return told(before, { endedAt: now, counted, outcome: outcomeOf(before, event), error: 'error' in event ? event.error : undefined })
}

/** The hand-out that ended the job; undefined: it did not end in one. */
export function lastHandOut(record: JobRecord): AttemptRecord | undefined {
  const { attemptAt, finishedAt, status, error } = record
  if (attemptAt === undefined || finishedAt === undefined) return undefined
  const outcome = status === 'succeeded' || status === 'cancelled' ? status : (error?.code ?? status)
  // Neither was an attempt that counts; attempts before it may have been.
  const counted = record.counted > 0 && status !== 'cancelled' && record.dead !== 'poison'
  return told(record, { endedAt: finishedAt, counted, outcome, error })
}

interface End {
  readonly endedAt: EpochMillis
  readonly counted: boolean
  readonly outcome: string
  readonly error: JobError | undefined
}

function told(record: JobRecord, { endedAt, counted, outcome, error }: End): AttemptRecord {
  const { handOuts: handOut, server, attemptAt = endedAt } = record
  const attempt = placeOf(record) === 'ended' ? record.counted : record.counted + 1
  return {
    handOut,
    ...(counted && { attempt }),
    ...(server !== undefined && { server }),
    startedAt: attemptAt,
    endedAt,
    outcome,
    ...(error?.status !== undefined && { status: error.status }),
    ...(error !== undefined && { detail: error.detail }),
  }
}

function outcomeOf(before: JobRecord, event: JobEvent): string {
  if ('error' in event && event.error !== undefined) return event.error.code
  if (event.kind === 'lapse') return lapseErrorOf(before).code
  return event.kind === 'void' ? 'gateway_stopped' : 'handed_back'
}
