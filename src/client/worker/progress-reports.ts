/** Progress of one job: one report on its way at a time; of those that come meanwhile only the last is sent. */
import { isPassing, SpillwayError } from '../errors.ts'

function isLeaseGone(error: unknown): boolean {
  return error instanceof SpillwayError && error.status === 410
}

export interface ProgressParts {
  send(value: unknown): Promise<void>
  onLeaseGone(): void
  onError(error: unknown): void
}

export class ProgressReports {
  readonly #parts: ProgressParts
  #sending: Promise<void> | undefined
  #next: { readonly value: unknown } | undefined
  #stopped = false

  constructor(parts: ProgressParts) {
    this.#parts = parts
  }

  /** Resolves when this report, or a later one, has been tried. Never rejects: nobody has to wait for it, and work does not fail for its sake. */
  async report(value: unknown): Promise<void> {
    if (this.#stopped) return
    this.#next = { value }
    this.#sending ??= this.#sendAll().finally(() => (this.#sending = undefined))
    await this.#sending
  }

  stop(): void {
    this.#stopped = true
    this.#next = undefined
  }

  async #sendAll(): Promise<void> {
    while (this.#next !== undefined) {
      const { value } = this.#next
      this.#next = undefined
      try {
        await this.#parts.send(value)
      } catch (error) {
        if (isLeaseGone(error)) this.#parts.onLeaseGone()
        // A gateway that is away for a moment is no news; one that does not accept it is.
        else if (!isPassing(error)) this.#parts.onError(error)
      }
    }
  }
}
