/** A job on its way out: as the store or the admin address tells of it, with its request. No secrets of ours; the client's own headers as they came. */
import type { OfflineView } from '../../engines/embedded/offline.ts'
import type { JobId, JobRequest } from '../../ports/job-store.ts'

export interface ExportedJob extends OfflineView {
  readonly request: JobRequest
  /** The failed job that holds its key: not to be passed. */
  readonly keyHeldBy?: JobId
  /** Headers that the admin address would not show: they are left out. */
  readonly redacted?: readonly string[]
}

/** As a server would have got it with every attempt, so that it can tell a job that it has seen. */
export function withIdempotencyKey({ id, request }: Pick<ExportedJob, 'id' | 'request'>): readonly string[] {
  const { headers } = request
  for (let i = 0; i < headers.length; i += 2) if ((headers[i] as string).toLowerCase() === 'idempotency-key') return headers
  return [...headers, 'Idempotency-Key', id]
}
