/** Which leases are to be extended when. Each after a third of its time, so that two failures in a row lose nothing. */

interface Entry {
  readonly leaseMs: number
  dueAt: number
}

/** Leases that are due within this part of their time go along, so that there are few requests. */
const EARLY = 1 / 12

export interface DueLeases {
  readonly leaseMs: number
  readonly receipts: readonly string[]
}

export class LeaseTable {
  readonly #entries = new Map<string, Entry>()

  get size(): number {
    return this.#entries.size
  }

  add(receipt: string, leaseMs: number, now: number): void {
    this.#entries.set(receipt, { leaseMs, dueAt: now + leaseMs / 3 })
  }

  remove(receipt: string): boolean {
    return this.#entries.delete(receipt)
  }

  /** `sentAt`: when the request that extended it was sent; the new lease began no earlier. */
  extended(receipt: string, sentAt: number): void {
    const entry = this.#entries.get(receipt)
    if (entry !== undefined) entry.dueAt = sentAt + entry.leaseMs / 3
  }

  /** All are due at once: after a time in which nothing was extended. */
  hasten(now: number): void {
    for (const entry of this.#entries.values()) entry.dueAt = now
  }

  /** Undefined: there are none. */
  nextDueAt(): number | undefined {
    let next: number | undefined
    for (const { dueAt } of this.#entries.values()) next = next === undefined || dueAt < next ? dueAt : next
    return next
  }

  /** By the length of their lease, in batches of at most `max`. */
  due(now: number, max: number): readonly DueLeases[] {
    const byLease = new Map<number, string[]>()
    for (const [receipt, { leaseMs, dueAt }] of this.#entries) {
      if (dueAt - leaseMs * EARLY > now) continue
      const receipts = byLease.get(leaseMs)
      if (receipts === undefined) byLease.set(leaseMs, [receipt])
      else receipts.push(receipt)
    }
    return [...byLease].flatMap(([leaseMs, receipts]) => chunks(receipts, max).map((chunk) => ({ leaseMs, receipts: chunk })))
  }
}

function chunks(all: readonly string[], max: number): string[][] {
  const made: string[][] = []
  for (let at = 0; at < all.length; at += max) made.push(all.slice(at, at + max))
  return made
}
