/** Requests and answers as payloads: the head as JSON text, the body untouched. Also what browses a store by hand can read. */
import type { BlobRef } from '../../ports/blobs.ts'
import type { JobAnswer, JobCommand, JobRequest, NewJob, ReadJob, Settlement } from '../../ports/job-store.ts'
import type { PackedCommand, PackedJob, PackedRead, PackedSettlement } from './calls.ts'
import type { Payload } from './tables.ts'

export function packRequest(request: JobRequest): Payload {
  return { head: Buffer.from(JSON.stringify([request.method, request.target, request.headers])), body: request.body }
}

export function unpackRequest(payload: Payload): JobRequest {
  const [method, target, headers] = parseHead(payload) as [string, string, string[]]
  return { method, target, headers, body: payload.body }
}

/** What names a blob stands in the head, and is sealed with it. */
function packAnswer({ status, reason, headers, body, blob }: JobAnswer): Payload {
  const head = blob === undefined ? [status, reason, headers] : [status, reason, headers, blob]
  return { head: Buffer.from(JSON.stringify(head)), body }
}

function unpackAnswer(payload: Payload): JobAnswer {
  const [status, reason, headers, blob] = parseHead(payload) as [number, string, string[], BlobRef?]
  return { status, reason, headers, body: payload.body, ...(blob !== undefined && { blob }) }
}

const DIGEST = /^[0-9a-f]{64}$/

export function packJob(job: NewJob): PackedJob {
  const { idempotency } = job
  if (idempotency !== undefined && !(DIGEST.test(idempotency.scopeKey) && DIGEST.test(idempotency.fingerprint))) {
    throw new TypeError('scopeKey and fingerprint of an idempotency must be 32 bytes as hex')
  }
  return { ...job, method: job.request.method, request: packRequest(job.request) }
}

export function packSettlement(settlement: Settlement): PackedSettlement {
  if (settlement.kind === 'defer') return settlement
  if (settlement.kind === 'succeed') {
    const { blob } = settlement.answer
    return { ...settlement, answer: packAnswer(settlement.answer), ...(blob !== undefined && { blobBytes: blob.bytes }) }
  }
  const { answer, ...rest } = settlement
  return answer === undefined ? rest : { ...rest, answer: packAnswer(answer) }
}

export function packCommand(command: JobCommand): PackedCommand {
  if (command.kind === 'schedule') return { kind: 'schedule', schedule: { ...command.schedule, job: packJob(command.schedule.job) } }
  if (command.kind !== 'redrive') return command
  const { request, ...rest } = command
  return request === undefined ? rest : { ...rest, request: packRequest(request), method: request.method }
}

export function unpackRead({ job, answer, request, history }: PackedRead): ReadJob {
  return {
    job,
    ...(answer !== undefined && { answer: unpackAnswer(answer) }),
    ...(request !== undefined && { request: unpackRequest(request) }),
    ...(history !== undefined && { history }),
  }
}

function parseHead(payload: Payload): unknown {
  const { buffer, byteOffset, length } = payload.head
  return JSON.parse(Buffer.from(buffer, byteOffset, length).toString())
}
