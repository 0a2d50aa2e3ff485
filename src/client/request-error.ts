import type { RequestedJob } from './requested-job.ts'

/**
 * No answer came, however often it was asked for. A `TypeError`, as what `fetch` rejects with. `job`: the request had become one by then;
 * it goes on, and `follow(job.url)` finds it again.
 */
export class RequestError extends TypeError {
  override readonly name: string = 'RequestError'
  /** `network`, `timeout`, or what the last answer said, if one came (docs/reference/errors.md). */
  readonly code: string
  readonly job: RequestedJob | undefined

  constructor(code: string, message: string, parts: { readonly job?: RequestedJob | undefined; readonly cause?: unknown }) {
    super(message, parts)
    this.code = code
    this.job = parts.job
  }
}
