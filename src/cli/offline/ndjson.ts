/**
 * A job as one line of NDJSON that `POST /queues/{queue}/jobs` takes again. Times are durations from the moment of the export. `exported` tells
 * where it came from and is not read; its id is also the idempotency key of the import, so that importing twice makes one job.
 */
import { isUtf8 } from 'node:buffer'
import type { EpochMillis } from '../../lib/units.ts'
import { type ExportedJob, withIdempotencyKey } from './exported-job.ts'

export function jobLine(job: ExportedJob, now: EpochMillis): string {
  const { id, queue, route, status, attempt, handOuts, submittedAt, dead, error, keyHeldBy, redacted } = job
  const exported = {
    id,
    queue,
    route,
    status,
    attempt,
    handOuts,
    submittedAt: new Date(submittedAt).toISOString(),
    dead,
    error,
    keyHeldBy,
    redacted,
  }
  const { key, tenant, priority, reference, attempts, request, notBefore, expiresAt, deadlineAt } = job
  const { method, target } = request
  const from = Math.max(now, notBefore ?? now)
  const document = {
    exported,
    ...{ key, tenant, priority, reference, attempts, method, target },
    headers: headersObject(withIdempotencyKey(job)),
    ...bodyMember(request.body),
    delay: notBefore === undefined || notBefore <= now ? undefined : notBefore - now,
    // What is over would have ended; a redriven dead letter's times are.
    expireAfter: expiresAt === undefined || expiresAt <= from ? undefined : expiresAt - from,
    deadline: deadlineAt === undefined || deadlineAt <= now ? undefined : deadlineAt - now,
    idempotencyKey: id,
  }
  return `${JSON.stringify(document)}\n`
}

/** Spelling as it came; a name that comes twice has a list. */
function headersObject(headers: readonly string[]): Record<string, string | string[]> {
  // `__proto__` is a header name like any other.
  const object = Object.create(null) as Record<string, string | string[]>
  for (let i = 0; i < headers.length; i += 2) {
    const [name, value] = [headers[i] as string, headers[i + 1] as string]
    const before = object[name]
    if (before === undefined) object[name] = value
    else object[name] = [...(Array.isArray(before) ? before : [before]), value]
  }
  return object
}

/** As text where that gives the same bytes again. */
function bodyMember(body: Uint8Array): { readonly text?: string; readonly base64?: string } {
  if (body.length === 0) return {}
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length)
  return isUtf8(bytes) ? { text: bytes.toString('utf8') } : { base64: bytes.toString('base64') }
}
