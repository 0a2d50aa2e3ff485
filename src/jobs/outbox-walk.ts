/**
 * Where the outbox is looked at. Of each queue that is where its first ends are; but where a whole page of them has ends that have to wait, it is also
 * behind them, a page after the other up to the last one and then from the beginning again: so what cannot go on hides nothing that can. What
 * follows from jobs of one key still comes in the order of their ends: behind one that waits, those of its key wait as well.
 */
import { hash32 } from '../lib/hash.ts'
import type { OutboxPlace, QueueName, StoredJob } from '../ports/job-store.ts'

interface Place {
  readonly after: OutboxPlace
  /** Hashes of keys of which an end waits that was passed. Where two keys have the same, one waits for the other until the walk begins anew. */
  readonly held: Set<number>
}

export class OutboxWalk {
  readonly #pageMax: number
  readonly #places = new Map<QueueName, Place>()

  constructor(pageMax: number) {
    this.#pageMax = pageMax
  }

  /** After a look at the first ends of each queue. */
  begin(first: readonly StoredJob[], waiting: ReadonlySet<StoredJob>): void {
    const pages = pagesOf(first)
    for (const queue of this.#places.keys()) if (!this.#hides(pages.get(queue) ?? [], waiting)) this.#places.delete(queue)
    for (const [queue, page] of pages) {
      if (!this.#places.has(queue) && this.#hides(page, waiting)) this.#pass(queue, page, { waiting, held: new Set() })
    }
  }

  /** Behind these it goes on. */
  get places(): readonly OutboxPlace[] {
    return [...this.#places.values()].map(({ after }) => after)
  }

  holds({ queue, key }: StoredJob): boolean {
    return key !== undefined && this.#places.get(queue)?.held.has(hash32(key)) === true
  }

  /** After a look at what is behind `places`. */
  advance(due: readonly StoredJob[], waiting: ReadonlySet<StoredJob>): void {
    const pages = pagesOf(due)
    for (const [queue, { held }] of this.#places) {
      const page = pages.get(queue) ?? []
      if (page.length < this.#pageMax) this.#places.delete(queue)
      else this.#pass(queue, page, { waiting, held })
    }
  }

  #hides(page: readonly StoredJob[], waiting: ReadonlySet<StoredJob>): boolean {
    return page.length >= this.#pageMax && page.some((job) => waiting.has(job))
  }

  #pass(queue: QueueName, page: readonly StoredJob[], { waiting, held }: { waiting: ReadonlySet<StoredJob>; held: Set<number> }): void {
    const last = page.at(-1) as StoredJob
    for (const job of page) if (job.key !== undefined && waiting.has(job)) held.add(hash32(job.key))
    this.#places.set(queue, { after: { queue, id: last.id, endedAt: last.finishedAt ?? last.submittedAt }, held })
  }
}

function pagesOf(jobs: readonly StoredJob[]): ReadonlyMap<QueueName, readonly StoredJob[]> {
  return Map.groupBy(jobs, ({ queue }) => queue)
}
