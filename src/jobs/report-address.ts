/**
 * Where a server reports on one hand-out: `<job id>.<fence>.<secret of the lease>.<proof>`. The proof is made with the job's own secret, so that an
 * address is known to be ours also when its lease is long over, and whoever asks with a made-up one learns nothing.
 */
import { hash, timingSafeEqual } from 'node:crypto'
import type { JobId, LeaseRef, StoredJob } from '../ports/job-store.ts'

/** 132 bits. */
const PROOF_CHARACTERS = 22
const FORM = /^([0-9a-z]{1,32})\.(\d{1,16})\.([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{22})$/

export interface ReportAddress {
  readonly ref: LeaseRef
  readonly proof: string
}

export function reportAddressOf(ref: LeaseRef, job: StoredJob): string {
  return `${signedPart(ref)}.${proofFor(ref, job.secret)}`
}

/** Undefined: it cannot be one of ours. */
export function parseReportAddress(text: string): ReportAddress | undefined {
  const match = FORM.exec(text)
  if (match === null) return undefined
  const [, id, fence, secret, proof] = match as unknown as [string, JobId, string, string, string]
  return { ref: { id, fence: Number(fence), secret }, proof }
}

/** Takes as long where there is no such job. */
export function isReportAddress({ ref, proof }: ReportAddress, job: StoredJob | undefined): boolean {
  // As text: of the last character base64 ignores some bits.
  const equal = timingSafeEqual(Buffer.from(proof), Buffer.from(proofFor(ref, job?.secret ?? '')))
  return equal && job !== undefined
}

/** Not an HMAC, which costs ten times as much with each attempt: of half a digest nobody can go on to that of a longer text. */
function proofFor(ref: LeaseRef, jobSecret: string): string {
  return hash('sha256', `${jobSecret}\nspillway report ${signedPart(ref)}`, 'base64url').slice(0, PROOF_CHARACTERS)
}

function signedPart({ id, fence, secret }: LeaseRef): string {
  return `${id}.${fence}.${secret}`
}
