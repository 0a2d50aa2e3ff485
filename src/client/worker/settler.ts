/**
 * The settlements on their way to the gateway, until it has confirmed them: with the next receive, where one is about to go, else by
 * themselves. What a broken request carried is sent again; a second time is `stale` and changes nothing.
 */
import { isPassing, SpillwayError } from '../errors.ts'
import type { Settlement, SettleResult } from '../jobs.ts'
import { encodeSettlement } from '../queue.ts'
import { REASON_MAX, WorkerError } from './outcomes.ts'

/** Of one request: the gateway's default for the number (`api.receiveMax`), and a size that both sides hold without a thought. */
const BATCH_MAX = 1000
const BATCH_BYTES_MAX = 4 << 20

export interface PendingSettlement {
  readonly settlement: Settlement
  readonly bytes: number
  /** It is done with: settled, or there is no use in trying. */
  readonly confirmed: (problem: WorkerError | undefined) => void
  /** Sent before, without an answer: it may have arrived. */
  repeated: boolean
}

export class Settler {
  #pending: PendingSettlement[] = []
  #sent = 0
  /** So many of the next go one by one: one among them is not accepted. */
  #alone = 0

  /** Handed in and not yet confirmed. */
  get open(): number {
    return this.#pending.length + this.#sent
  }

  get pending(): number {
    return this.#pending.length
  }

  /** Throws when the result cannot be written as JSON. */
  add(settlement: Settlement, confirmed: PendingSettlement['confirmed']): void {
    const bytes = JSON.stringify(encodeSettlement(settlement)).length
    this.#pending.push({ settlement, bytes, confirmed, repeated: false })
  }

  /** As many as one request takes. They are to be confirmed or put back. */
  take(): readonly PendingSettlement[] {
    const max = this.#alone > 0 ? 1 : BATCH_MAX
    if (this.#alone > 0) this.#alone--
    let count = 0
    let bytes = 0
    for (const each of this.#pending) {
      bytes += each.bytes
      if (count === max || (count > 0 && bytes > BATCH_BYTES_MAX)) break
      count++
    }
    this.#sent += count
    return this.#pending.splice(0, count)
  }

  confirm(batch: readonly PendingSettlement[], results: readonly SettleResult[]): void {
    this.#sent -= batch.length
    for (const [i, each] of batch.entries()) this.#confirmOne(each, results[i])
  }

  /**
   * The request failed. When it may go better, all are sent again, before what came later. When the gateway will never take it (a right that
   * is missing, a body too large), each goes alone, so that one does not hold up the others, and what is refused alone is given up. What was
   * not answered by a gateway at all (a proxy's own 403 or 404) says nothing of them.
   */
  failed(batch: readonly PendingSettlement[], error: Error): void {
    this.#sent -= batch.length
    const [only] = batch
    const { message } = error
    const never = error instanceof SpillwayError && error.code !== 'bad_answer' && !isPassing(error)
    if (never && batch.length === 1 && only !== undefined) return this.#refused(only, message)
    for (const each of batch) each.repeated = true
    this.#pending.unshift(...batch)
    if (never) this.#alone = batch.length
  }

  #confirmOne(each: PendingSettlement, result: SettleResult | undefined): void {
    if (result?.status === 'settled' || (result?.status === 'stale' && each.repeated)) return each.confirmed(undefined)
    if (result?.status === 'stale') return each.confirmed(new WorkerError('lease_lost', 'it was gone before the job was settled'))
    this.#refused(each, result?.detail ?? 'the gateway gave no result for it')
  }

  /** A result that the gateway does not take (too large) would not be taken after another attempt, either: the job fails, and says why. */
  #refused(each: PendingSettlement, detail: string): void {
    const { settlement, confirmed } = each
    if (settlement.outcome !== 'succeed') return confirmed(new WorkerError('not_settled', detail))
    const fail: Settlement = {
      receipt: settlement.receipt,
      outcome: 'fail',
      reason: `result not accepted: ${detail}`.slice(0, REASON_MAX).toWellFormed(),
    }
    this.add(fail, (problem) => confirmed(problem ?? new WorkerError('not_settled', `the result was not accepted: ${detail}`)))
  }
}
