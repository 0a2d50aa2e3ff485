/**
 * What is kept of a hand-out while it runs: the server's name, and of a lease that outlives its process all that proves it. One text, because
 * most of them are the same for many jobs, and are written together.
 */
import type { Deferred, JobRecord, RecordLease } from '../../core/jobs/record.ts'
import type { Millis } from '../../lib/units.ts'

type Kept = readonly [
  server: string,
  fence: number,
  secret: string,
  keptMs: Millis,
  attemptAt: number,
  deferred?: Deferred,
  // What its server has reported so far. Nobody else will say it again.
  progress?: string,
]

export function runMark({ server = '', lease, attemptAt = 0, progress }: JobRecord): string {
  if (lease?.keptMs === undefined) return server
  const { fence, secret, keptMs, deferred } = lease
  const kept = [server, fence, secret, keptMs, attemptAt] as const
  if (deferred === undefined) return JSON.stringify(kept satisfies Kept)
  return JSON.stringify((progress === undefined ? [...kept, deferred] : [...kept, deferred, progress]) satisfies Kept)
}

/** The job as it ran. A lease that was not kept is nobody's. */
export function asItRan(record: JobRecord, mark: string): JobRecord {
  // No server's name begins so.
  const kept = mark.startsWith('["') ? (JSON.parse(mark) as Kept) : undefined
  // Where the record itself says that it runs, only the mark knows for how long the lease was extended.
  if (record.status === 'running') {
    return kept === undefined || record.lease === undefined
      ? record
      : { ...record, lease: { ...record.lease, ...keeping(kept[3], kept[5]) } }
  }
  const [server, fence, secret, keptMs, attemptAt, deferred, progress] = kept ?? [mark, 0, '', undefined, undefined]
  const lease = { fence, secret, ...keeping(keptMs, deferred) }
  const began = attemptAt === undefined ? {} : { attemptAt, startedAt: record.startedAt ?? attemptAt }
  return { ...record, ...began, status: 'running', handOuts: record.handOuts + 1, server, lease, notBefore: undefined, progress }
}

function keeping(keptMs: Millis | undefined, deferred: Deferred | undefined): Partial<RecordLease> {
  return { ...(keptMs !== undefined && { keptMs }), ...(deferred !== undefined && { deferred }) }
}
