/**
 * The client of Spillway: queues, topics and schedules by the queue API, and requests to routes that may become jobs. For browsers and
 * servers: it uses what the web platform has (fetch, streams, AbortSignal) and imports nothing but its own folder.
 */
import { Api } from './api.ts'
import { apiUrlOf, batchesUrlOf, jobsUrlOf } from './addresses.ts'
import { type BatchHandle, followBatch } from './batch.ts'
import { followJob, type JobHandle, type JobUrls } from './job-handle.ts'
import type { CallOptions, JobView, NewJob, PublishedJob, PublishResult, Schedule, ScheduleView, SendOptions, TaskView } from './jobs.ts'
import { encodeBody } from './payload.ts'
import { Queue } from './queue.ts'
import type { StreamOptions } from './send-stream.ts'
import { BATCH, type BatchLimits, Sender } from './sender.ts'
import { submit, type SubmitOptions, type Submitted } from './submit.ts'
import { durationMs, type Duration, RETRY, type RetryPolicy } from './timing.ts'

export { SpillwayError } from './errors.ts'
export type { JobEvent } from './events.ts'
export type { BatchHandle, BatchJob } from './batch.ts'
export type { JobHandle } from './job-handle.ts'
export type { WaitOptions } from './until-ended.ts'
export type * from './jobs.ts'
export type { Queue } from './queue.ts'
export { follow, request } from './request.ts'
export type { FollowInit, Requested, SpillwayRequestInit } from './request.ts'
export { RequestError } from './request-error.ts'
export type { RequestedJob } from './requested-job.ts'
export { PartialSendError } from './sender.ts'
export type { Submitted, SubmitOptions } from './submit.ts'
export type { Duration, RetryPolicy } from './timing.ts'

export interface ClientOptions {
  /**
   * The gateway: `https://gateway.example`. Its API is then at `/_spillway/api`. An address with a path is that of the API itself:
   * `http://127.0.0.1:9900/api` on the admin address, or where `jobs.path` puts it.
   */
  readonly url: string
  /** Of `api.keys` or of the admin address. Sent to the API only, never to routes. */
  readonly token?: string
  /** Where jobs are followed by token; default: beside the API. */
  readonly jobsUrl?: string
  /** Default: the platform's. */
  readonly fetch?: typeof fetch
  /** Of what may be repeated. `false`: never. */
  readonly retry?: Partial<RetryPolicy> | false
  /** How long one request may take, beyond what the gateway was asked to hold it. Default 30s. */
  readonly timeout?: Duration
  /** Of one request: 1,000 jobs (the gateway's `api.receiveMax`), 4 MiB. */
  readonly batch?: Partial<BatchLimits>
}

export interface Client {
  queue<Payload = unknown, Result = unknown>(name: string): Queue<Payload, Result>
  topic<Payload = unknown>(name: string): Topic<Payload>
  /** A job by its id, for those who may browse. */
  job(id: string): Job
  readonly schedules: Schedules
  readonly tasks: Tasks
  /** A job by its token, for whoever has it. */
  follow<Result = unknown>(token: string): JobHandle<Result>
  /** A batch by its token, for whoever has it. */
  batch<Result = unknown>(token: string): BatchHandle<Result>
  /** A request to a route. `url`: absolute, or a path on the gateway. */
  submit<Result = unknown>(url: string | URL, init?: RequestInit, options?: SubmitOptions): Promise<Submitted<Result>>
}

export interface Topic<Payload> {
  publish(payload: Payload, options?: SendOptions & CallOptions): Promise<PublishedJob>
  publishMany(jobs: readonly NewJob<Payload>[], options?: CallOptions): Promise<PublishResult[]>
  publishStream(
    jobs: AsyncIterable<NewJob<Payload>> | Iterable<NewJob<Payload>>,
    options?: StreamOptions,
  ): AsyncGenerator<PublishResult, void>
}

/** Another request for a job that is sent again. */
export interface Redriven extends Pick<SendOptions, 'headers' | 'target' | 'method' | 'delay' | 'contentType'> {
  readonly payload?: unknown
  readonly queue?: string
}

export interface Job {
  readonly id: string
  read(options?: CallOptions & { readonly include?: readonly ('request' | 'result' | 'history')[] }): Promise<JobView>
  cancel(options?: CallOptions): Promise<void>
  /** Removes it; it must have ended. */
  forget(options?: CallOptions): Promise<void>
  /** A dead letter runs again. */
  redrive(change?: Redriven, options?: CallOptions): Promise<void>
  /** A waiting job or a dead letter goes to another queue. */
  move(queue: string, options?: CallOptions): Promise<void>
}

export interface Schedules {
  put(name: string, schedule: Schedule, options?: CallOptions): Promise<ScheduleView>
  get(name: string, options?: CallOptions): Promise<ScheduleView>
  list(options?: CallOptions): Promise<readonly ScheduleView[]>
  remove(name: string, options?: CallOptions): Promise<void>
}

export interface Tasks {
  list(options?: CallOptions): Promise<readonly TaskView[]>
  stop(id: number, options?: CallOptions): Promise<void>
}

const TIMEOUT: Duration = '30s'

export function createClient(options: ClientOptions): Client {
  const { token, fetch: ownFetch, retry, timeout = TIMEOUT, batch } = options
  const apiUrl = apiUrlOf(options.url)
  const jobsUrl = options.jobsUrl?.replace(/\/+$/, '') ?? jobsUrlOf(apiUrl)
  const http = new Api(
    { apiUrl, token },
    {
      // Called as a function of nobody: browsers refuse their own fetch as anybody's method.
      fetch: ownFetch ?? ((input, init) => fetch(input, init)),
      retry: retry === false ? { ...RETRY, attempts: 1 } : { ...RETRY, ...retry },
      timeoutMs: durationMs(timeout, 'timeout'),
    },
  )
  const urls: JobUrls = {
    ofToken: (jobToken) => `${jobsUrl}/${jobToken}`,
    ofBatch: (batchToken) => `${batchesUrlOf(jobsUrl)}/${batchToken}`,
  }
  const limits = { ...BATCH, ...batch }
  return {
    queue: <Payload, Result>(name: string) => new Queue<Payload, Result>(name, { http, urls, batch: limits }),
    topic: <Payload>(name: string) => topicOf<Payload>(http, name, limits),
    job: (id) => jobOf(http, id),
    schedules: schedulesOf(http),
    tasks: tasksOf(http),
    follow: (jobToken) => followJob(http, urls.ofToken(jobToken), jobToken),
    batch: (batchToken) => followBatch(http, urls, batchToken),
    submit: (url, init = {}, submitOptions = {}) => submit(http, new URL(url, apiUrl), init, submitOptions),
  }
}

function topicOf<Payload>(http: Api, name: string, limits: BatchLimits): Topic<Payload> {
  const sender = new Sender<PublishedJob>(http, `/topics/${encodeURIComponent(name)}/publish`, limits)
  return {
    publish: async (payload, options = {}) => {
      const { signal, ...send } = options
      return await sender.one({ payload, ...send }, signal === undefined ? {} : { signal })
    },
    publishMany: async (jobs, options = {}) => await sender.many(jobs, options),
    publishStream: (jobs, options = {}) => sender.stream(jobs, options),
  }
}

function jobOf(http: Api, id: string): Job {
  const path = `/jobs/${encodeURIComponent(id)}`
  return {
    id,
    read: async ({ include = [], ...options } = {}) => {
      const query = include.length === 0 ? '' : `?include=${include.join(',')}`
      return await http.json({ method: 'GET', path: `${path}${query}`, repeat: 'safe', ...options })
    },
    cancel: async (options) => await http.json({ method: 'DELETE', path, repeat: 'safe', ...options }),
    forget: async (options) => await http.json({ method: 'DELETE', path: `${path}?forget=true`, repeat: 'safe', ...options }),
    redrive: async ({ payload, contentType, ...change } = {}, options = {}) => {
      const body = { ...encodeBody(payload, contentType), ...change }
      await http.json({ method: 'POST', path: `${path}/redrive`, body, repeat: 'refused', ...options })
    },
    move: async (queue, options) => await http.json({ method: 'POST', path: `${path}/move`, body: { queue }, repeat: 'safe', ...options }),
  }
}

function schedulesOf(http: Api): Schedules {
  const pathOf = (name: string): string => `/schedules/${encodeURIComponent(name)}`
  return {
    put: async (name, schedule, options) => {
      const { payload, contentType, ...job } = schedule.job
      const body = { ...schedule, job: { ...encodeBody(payload, contentType), ...job } }
      return await http.json({ method: 'PUT', path: pathOf(name), body, repeat: 'safe', ...options })
    },
    get: async (name, options) => await http.json({ method: 'GET', path: pathOf(name), repeat: 'safe', ...options }),
    list: async (options) =>
      (await http.json<{ schedules: readonly ScheduleView[] }>({ method: 'GET', path: '/schedules', repeat: 'safe', ...options }))
        .schedules,
    remove: async (name, options) => await http.json({ method: 'DELETE', path: pathOf(name), repeat: 'safe', ...options }),
  }
}

function tasksOf(http: Api): Tasks {
  return {
    list: async (options) =>
      (await http.json<{ tasks: readonly TaskView[] }>({ method: 'GET', path: '/tasks', repeat: 'safe', ...options })).tasks,
    stop: async (id, options) => await http.json({ method: 'DELETE', path: `/tasks/${id}`, repeat: 'safe', ...options }),
  }
}
