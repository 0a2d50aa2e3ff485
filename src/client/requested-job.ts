/** The job that a request has become, in the hands of who sent it. */
import type { JobEvent } from './events.ts'
import type { Following } from './following.ts'
import type { Http } from './http.ts'
import type { CallOptions, JobDocument } from './jobs.ts'

export class RequestedJob {
  readonly id: string
  /** Where it is asked for. Whoever has it may read and cancel the job: keep it to come back (`follow`), and keep it to yourself. */
  readonly url: string
  readonly #http: Http
  readonly #following: Following

  constructor(http: Http, url: string, following: Following) {
    this.#http = http
    this.#following = following
    this.url = url
    this.id = new URL(url).pathname.split('/').pop()?.split('.')[0] as string
  }

  /** The newest that has been heard, without asking. */
  get document(): JobDocument | undefined {
    return this.#following.last
  }

  /** What the server has reported last. */
  get progress(): unknown {
    return this.document?.progress
  }

  /** Asks. */
  async status(options: CallOptions = {}): Promise<JobDocument> {
    return await this.#http.jobDocument<JobDocument>({ method: 'GET', url: this.url, ...options })
  }

  /** Every change from now on as a whole snapshot; the last one is the end. All who listen share one connection. */
  events(options: CallOptions = {}): AsyncGenerator<JobEvent, void> {
    return this.#following.events(options.signal)
  }

  /** Waits for the end. The answer as the server gave it, of any status, or the gateway's, which says why there is none; again and again. */
  async result(options: CallOptions = {}): Promise<Response> {
    return await this.#following.result(options.signal)
  }

  /** An attempt that runs is aborted, and may have taken effect. */
  async cancel(options: CallOptions = {}): Promise<JobDocument> {
    return await this.#http.jobDocument<JobDocument>({ method: 'DELETE', url: this.url, ...options })
  }
}
