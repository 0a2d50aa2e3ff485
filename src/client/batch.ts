/** A batch from the outside, by its token: how many of its jobs have ended, each of them, the end of all. */
import { retryAfterMsOf } from './errors.ts'
import type { Http } from './http.ts'
import { followJob, type JobHandle, type JobUrls } from './job-handle.ts'
import type { BatchDocument, CallOptions, JobStatus } from './jobs.ts'
import { untilEnded, type WaitOptions } from './until-ended.ts'

export interface BatchJob<Result = unknown> {
  /** Its place in the batch. */
  readonly index: number
  readonly id: string
  readonly status: JobStatus
  /** Absent: the job is no longer kept, or bound to somebody else. */
  readonly job?: JobHandle<Result>
}

export interface BatchHandle<Result = unknown> {
  readonly id: string
  /** A secret. */
  readonly token: string
  status(options?: CallOptions): Promise<BatchDocument>
  /** Until the last of its jobs has ended. */
  wait(options?: WaitOptions): Promise<BatchDocument>
  /** In their order, page by page as they are read. */
  jobs(options?: CallOptions): AsyncGenerator<BatchJob<Result>, void>
  /** Ends what has not ended. */
  cancel(options?: CallOptions): Promise<BatchDocument>
}

interface Page {
  readonly jobs: readonly {
    readonly index: number
    readonly id: string
    readonly status: JobStatus
    readonly links?: { readonly self: string }
  }[]
  readonly next?: number
}

const PAGE = 1000

export function followBatch<Result>(http: Http, urls: JobUrls, token: string): BatchHandle<Result> {
  const url = urls.ofBatch(token)
  return {
    id: token.split('.')[0] as string,
    token,
    status: async (options = {}) => await http.jobDocument<BatchDocument>({ method: 'GET', url, ...options }),
    cancel: async (options = {}) => await http.jobDocument<BatchDocument>({ method: 'DELETE', url, ...options }),
    wait: async (options = {}) =>
      await untilEnded(http, options, async (heldMs) => {
        const call = { method: 'GET', url: `${url}?wait=${heldMs}ms`, heldMs, signal: options.signal } as const
        const { document, response } = await http.jobDocumentOnce<BatchDocument>(call)
        return document?.status === 'ended' ? { value: document } : { retryAfterMs: retryAfterMsOf(response) }
      }),
    async *jobs(options = {}) {
      for (let after: number | undefined = -1; after !== undefined; ) {
        const page: Page = await http.jobDocument<Page>({ method: 'GET', url: `${url}/jobs?max=${PAGE}&after=${after}`, ...options })
        for (const { links, ...job } of page.jobs) {
          const jobToken = links?.self.split('/').at(-1)
          yield jobToken === undefined ? job : { ...job, job: followJob<Result>(http, urls.ofToken(jobToken), jobToken) }
        }
        after = page.next
      }
    },
  }
}
