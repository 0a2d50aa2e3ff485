/** The receipt of a hand-out, `<job id>.<fence>.<attempt>.<secret>`: proves the lease, and says which attempt this is, for the queue's backoff. */
import type { Lease, LeaseRef } from '../../ports/job-store.ts'

export interface Receipt {
  readonly lease: LeaseRef
  readonly attempt: number
}

const FORM = /^([0-9a-z]{1,32})\.(\d{1,16})\.(\d{1,10})\.([A-Za-z0-9_-]{1,64})$/

export function receiptOf({ ref, job }: Lease): string {
  return `${ref.id}.${ref.fence}.${job.attempt}.${ref.secret}`
}

/** Undefined: it cannot be one of ours. */
export function parseReceipt(text: unknown): Receipt | undefined {
  const match = typeof text === 'string' ? FORM.exec(text) : null
  if (match === null) return undefined
  const [, id, fence, attempt, secret] = match as unknown as [string, string, string, string, string]
  return { lease: { id, fence: Number(fence), secret }, attempt: Number(attempt) }
}

/** The same for a call on this queue: whoever may settle in one must not do so in another. */
export function receiptFor(queue: string, text: unknown): Receipt | undefined {
  const receipt = parseReceipt(text)
  return receipt === undefined ? undefined : { ...receipt, lease: { ...receipt.lease, queue } }
}
