/**
 * How a batch stands: a status for each of its jobs, kept as one letter each in blocks, so that an end costs a small note and not all of them. A job
 * that has ended counts as it ended last, so ends may come in any order and more than once. Pure: who writes what is `jobs/batches.ts`.
 */
import { JOB_STATUSES, type JobStatus } from './record.ts'

/** Jobs whose letters stand in one note. */
export const BLOCK = 500

export type BatchCounts = Readonly<Record<JobStatus, number>>

const LETTERS: Readonly<Partial<Record<JobStatus, string>>> = { succeeded: 's', failed: 'f', cancelled: 'c', expired: 'x' }
const NOT_ENDED = '.'
const STATUS_OF: ReadonlyMap<string, JobStatus> = new Map(
  JOB_STATUSES.flatMap((status) => (isEnd(status) ? [[LETTERS[status] as string, status]] : [])),
)

export type Ends = ReadonlyMap<number, JobStatus>

export class BatchState {
  readonly total: number
  /** Places in `JOB_STATUSES`. */
  readonly #statuses: Uint8Array
  readonly #counts: number[] = JOB_STATUSES.map(() => 0)
  #open: number

  /** All queued. */
  constructor(total: number) {
    this.total = total
    this.#statuses = new Uint8Array(total)
    this.#counts[0] = total
    this.#open = total
  }

  /** As it was written. What is missing, or is no letter of ours, has not ended. */
  restore(block: number, text: string): void {
    for (let i = 0; i < text.length; i++) {
      const status = STATUS_OF.get(text.charAt(i))
      if (status !== undefined) this.end(block * BLOCK + i, status)
    }
  }

  get open(): number {
    return this.#open
  }

  get counts(): BatchCounts {
    return Object.fromEntries(JOB_STATUSES.map((status, place) => [status, this.#counts[place] as number])) as Record<JobStatus, number>
  }

  statusOf(index: number): JobStatus {
    return JOB_STATUSES[this.#statuses[index] as number] as JobStatus
  }

  /** What happens to one before its end. False: nothing changes by that. */
  live(index: number, status: JobStatus): boolean {
    if (!this.#has(index) || isEnd(status) || isEnd(this.statusOf(index))) return false
    return this.#set(index, status)
  }

  /** How one has ended. */
  end(index: number, status: JobStatus): boolean {
    return this.#has(index) && isEnd(status) && this.#set(index, status)
  }

  /** How many have not ended once these have. */
  openAfter(ends: Ends): number {
    let open = this.#open
    for (const [index, status] of ends) if (this.#has(index) && isEnd(status) && !isEnd(this.statusOf(index))) open -= 1
    return open
  }

  /** What is to be written once these have ended: the blocks that they are in. */
  *blocksAfter(ends: Ends): Generator<{ readonly block: number; readonly text: string }> {
    const touched = new Set([...ends.keys()].filter((index) => this.#has(index)).map((index) => Math.floor(index / BLOCK)))
    for (const block of touched) {
      let text = ''
      for (let index = block * BLOCK; index < Math.min(this.total, (block + 1) * BLOCK); index++) {
        const ended = ends.get(index)
        const status = ended !== undefined && isEnd(ended) ? ended : this.statusOf(index)
        text += LETTERS[status] ?? NOT_ENDED
      }
      yield { block, text }
    }
  }

  /** Those that have not ended, in order. */
  *openIndexes(): Generator<number> {
    for (let index = 0; index < this.total; index++) if (!isEnd(this.statusOf(index))) yield index
  }

  #has(index: number): boolean {
    return Number.isInteger(index) && index >= 0 && index < this.total
  }

  #set(index: number, status: JobStatus): boolean {
    const before = this.#statuses[index] as number
    const after = JOB_STATUSES.indexOf(status)
    if (before === after) return false
    const wasOpen = !isEnd(this.statusOf(index))
    this.#statuses[index] = after
    this.#counts[before] = (this.#counts[before] as number) - 1
    this.#counts[after] = (this.#counts[after] as number) + 1
    if (wasOpen && isEnd(status)) this.#open -= 1
    return true
  }
}

function isEnd(status: JobStatus): boolean {
  return LETTERS[status] !== undefined
}
