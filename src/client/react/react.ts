/**
 * For React 18 and later: a request, or a job that was kept, as state. A component that goes away ends its waiting, not the job: keep `url`, and
 * `useJob(url)` shows it again.
 */
import { useCallback, useEffect, useRef, useState } from 'react'
import {
  follow,
  type FollowInit,
  type JobDocument,
  request,
  type Requested,
  type RequestedJob,
  type SpillwayRequestInit,
} from '../client.ts'

export interface JobState {
  /** `idle`: nothing was asked for. `waiting`: for the answer. `answered`: of whatever status. `lost`: none came. */
  readonly phase: 'idle' | 'waiting' | 'answered' | 'lost'
  /** As far as it is known; absent for what was answered at once. */
  readonly document?: JobDocument
  /** What the server has reported last. */
  readonly progress?: unknown
  /** The job's address, a secret: what to keep over a reload. */
  readonly url?: string
  readonly response?: Response
  readonly error?: unknown
}

export interface UsedJob extends JobState {
  /** Cancels the job, if there is one and it has not ended. */
  readonly cancel: () => Promise<void>
}

/** The rest belongs to the component. */
export type SendInit = Omit<SpillwayRequestInit, 'signal' | 'onStatus' | 'onProgress'>

export interface UsedRequest extends UsedJob {
  readonly send: (input: string | URL | Request, init?: SendInit) => Requested<RequestedJob | undefined>
}

type Begin = (init: FollowInit) => Requested<RequestedJob | undefined>

const IDLE: JobState = { phase: 'idle' }

/** Sends when `send` is called; what was sent before is left alone, and no longer shown. `init` holds for all of them. */
export function useRequest(init: SpillwayRequestInit = {}): UsedRequest {
  const { begin, leave: _, ...used } = useRequested(init)
  const defaults = useLatest(init)
  const send = useCallback<UsedRequest['send']>(
    (input, own) => begin((watching) => request(input, { ...defaults.current, ...own, ...watching })),
    [begin, defaults],
  )
  return { ...used, send }
}

/** Follows the job at an address that was kept. Undefined: there is none, and nothing is asked. */
export function useJob(url: string | undefined, init: FollowInit = {}): UsedJob {
  const { begin, leave, ...used } = useRequested(init)
  const options = useLatest(init)
  useEffect(() => {
    if (url === undefined) return undefined
    void begin((watching) => follow(url, { ...options.current, ...watching }))
    return leave
  }, [url, begin, leave, options])
  return used
}

interface Requesting {
  readonly begin: (begin: Begin) => ReturnType<Begin>
  /** Ends the waiting, and shows nothing any more. */
  readonly leave: () => void
}

function useRequested(init: FollowInit): UsedJob & Requesting {
  const [state, setState] = useState(IDLE)
  const callbacks = useLatest(init)
  const waiting = useRef<AbortController>(undefined)
  const job = useRef<RequestedJob>(undefined)
  useEffect(() => () => waiting.current?.abort(), [])

  const begin = useCallback(
    (start: Begin): ReturnType<Begin> => {
      waiting.current?.abort()
      const own = new AbortController()
      waiting.current = own
      job.current = undefined
      /** Of what is no longer shown nothing is told. */
      const change = (next: JobState | ((before: JobState) => JobState)): void => {
        if (!own.signal.aborted) setState(next)
      }
      change({ phase: 'waiting' })
      const asked = start({
        signal: own.signal,
        onStatus: (document) => {
          change((before) => ({ ...before, document, progress: document.progress }))
          callbacks.current.onStatus?.(document)
        },
        onProgress: (progress, document) => {
          change((before) => ({ ...before, progress, document }))
          callbacks.current.onProgress?.(progress, document)
        },
      })
      asked.job.then(
        (found) => {
          if (own.signal.aborted || found === undefined) return
          job.current = found
          change((before) => ({ ...before, url: found.url }))
        },
        () => undefined,
      )
      asked.then(
        (response) => change((before) => ({ ...before, phase: 'answered', response })),
        (error: unknown) => change((before) => ({ ...before, phase: 'lost', error })),
      )
      return asked
    },
    [callbacks],
  )
  const leave = useCallback(() => {
    waiting.current?.abort()
    job.current = undefined
    setState(IDLE)
  }, [])
  const cancel = useCallback(async () => void (await job.current?.cancel()), [])
  return { ...state, begin, leave, cancel }
}

/** Callers write their options in place, which makes new ones with every rendering. */
function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value)
  useEffect(() => {
    latest.current = value
  })
  return latest
}
