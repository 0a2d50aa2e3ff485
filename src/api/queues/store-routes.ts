/**
 * `POST store/backup` and `POST store/verify`, for whoever runs the gateway: work on the store's files that takes as long as it takes. So that
 * nobody in between gives up, the answer begins at once, and has a space in it every few seconds until the report comes.
 */
import { failure, isFailure } from '../../core/errors.ts'
import type { Millis } from '../../lib/units.ts'
import type { Maintenance, MaintenanceReport } from '../../ports/job-store.ts'
import { type ApiParts, DOCUMENT_BYTES_MAX } from './parts.ts'
import type { Answered } from './queue-api.ts'
import { type ApiRequest, invalid, JSON_HEADERS, NOBODY, readDocument } from './request.ts'

export type Maintain = (work: Maintenance) => Promise<MaintenanceReport>

const SIGN_OF_LIFE_MS: Millis = 5000

/** `maintain` undefined: the engine has no files. */
export async function answerStore(request: ApiRequest, parts: ApiParts, maintain: Maintain | undefined): Promise<Answered> {
  const [, name] = request.segments
  if (request.segments.length !== 2 || (name !== 'backup' && name !== 'verify')) {
    return { failed: failure('not_found', 'There are store/backup and store/verify.'), headers: [] }
  }
  if (request.method !== 'POST') return { failed: failure('method_not_allowed', 'Allowed here: POST.'), headers: ['Allow', 'POST'] }
  if (maintain === undefined) return { failed: failure('wrong_state', 'This engine has no files.'), headers: [] }
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return { failed: read, headers: [] }
  const work = name === 'verify' ? ({ kind: 'verify' } as const) : backupOf(read.value)
  if (work === undefined)
    return { failed: invalid('`path`: the folder for the backup, absolute, on the machine of the gateway.'), headers: [] }
  return { status: 200, headers: JSON_HEADERS, body: reported(maintain(work), parts) }
}

function backupOf(document: unknown): Maintenance | undefined {
  const path = typeof document === 'object' && document !== null ? (document as { path?: unknown }).path : undefined
  return typeof path === 'string' && path.startsWith('/') && !path.includes('\0') ? { kind: 'backup', path } : undefined
}

async function* reported(work: Promise<MaintenanceReport>, { clock }: ApiParts): AsyncGenerator<string, void> {
  const report = work.catch((error: unknown): MaintenanceReport => {
    return { ok: false, jobs: 0, bytes: 0, problems: [error instanceof Error ? error.message : String(error)] }
  })
  for (;;) {
    let timer: { cancel(): void } | undefined
    const pause = new Promise<undefined>((resolve) => {
      timer = clock.after(SIGN_OF_LIFE_MS, () => resolve(undefined))
    })
    const done = await Promise.race([report, pause])
    timer?.cancel()
    if (done !== undefined) return yield JSON.stringify(done)
    yield ' '
  }
}
