/**
 * Every job of a client's process, and what became of it: published, confirmed, started, settled. A job that is lost, comes twice or was
 * never sent, and a publish that is not confirmed, is a fault; a run with a fault is void.
 */
const GROWTH = 1 << 20

export class JobBook {
  /** 1 where a job was started; by number. */
  #started = new Uint8Array(GROWTH)
  #next = 0
  #confirmed = 0
  #settled = 0
  #purged = 0
  /** Since the last `close`. */
  #came = 0
  #left = 0
  #duplicates = 0
  #unknown = 0

  /** Numbers of jobs that have not been used before. */
  take(count: number): number[] {
    const first = this.#next
    this.#next += count
    if (this.#next > this.#started.length) {
      const grown = new Uint8Array(this.#started.length * 2)
      grown.set(this.#started)
      this.#started = grown
    }
    return Array.from({ length: count }, (_, i) => first + i)
  }

  confirmed(count: number): void {
    this.#confirmed += count
  }

  started(jobs: readonly number[]): void {
    for (const job of jobs) {
      if (!(job >= 0 && job < this.#next)) this.#unknown += 1
      else if (this.#started[job] === 1) this.#duplicates += 1
      else {
        this.#started[job] = 1
        this.#came += 1
      }
    }
  }

  settled(count: number): void {
    this.#settled += count
    this.#left += count
  }

  /** What was waiting is gone on purpose: if one of them comes all the same, it counts as one that came twice. */
  purged(): void {
    this.#purged = this.#confirmed - this.#settled
    this.#started.fill(1, 0, this.#next)
  }

  get counts(): { readonly taken: number; readonly confirmed: number; readonly settled: number } {
    return { taken: this.#next, confirmed: this.#confirmed, settled: this.#settled }
  }

  /** What the broker should hold now. */
  get waiting(): number {
    return this.#confirmed - this.#settled - this.#purged
  }

  /** `depth` is what the broker says that it holds. After this the book is as if it had balanced: a fault voids one run, not all later ones. */
  close(depth: number): string[] {
    const faults: string[] = []
    const add = (count: number, text: string): void => {
      if (count !== 0) faults.push(`${count} ${text}`)
    }
    add(this.#next - this.#confirmed, 'published and not confirmed')
    add(this.#duplicates, 'came twice')
    add(this.#unknown, 'came and were never sent, or not as they were sent')
    add(Math.max(0, this.#left - this.#came - this.#duplicates - this.#unknown), 'settled and never came')
    if (depth !== this.waiting) faults.push(`the broker holds ${depth} jobs, not ${this.waiting}: some are lost or were not settled`)
    this.#confirmed = this.#next
    this.#duplicates = 0
    this.#unknown = 0
    this.#came = 0
    this.#left = 0
    this.#settled = this.#confirmed - this.#purged - depth
    return faults
  }
}
