/**
 * Follows one job to its end, for any number of readers, by one connection at a time: over lost connections and restarts of the gateway, and
 * by another way where one does not get through.
 */
import { isPassing, SpillwayError } from './errors.ts'
import type { JobEvent } from './events.ts'
import { type Http, refusalOf } from './http.ts'
import { isEnded } from './jobs.ts'
import { handedOver, linked, meaningOf, type OpenAnswer, withBody } from './open.ts'
import { FOREVER, pauseMs, reasonOf, rest } from './timing.ts'
import { type Way, WAYS } from './ways.ts'

export interface FollowOptions {
  /** In the order in which they are tried. */
  readonly ways: readonly Way[]
  /** Of the gateway (`jobs.heartbeat`). */
  readonly heartbeatMs: number
  /** Failures in a row, with no answer of the gateway between them, before it is given up. */
  readonly failuresMax: number
}

export const FOLLOW: FollowOptions = {
  ways: ['sse', 'long-poll', 'poll'],
  heartbeatMs: 15_000,
  failuresMax: FOREVER,
}

/** Browsers have six connections to one address (HTTP/1.1), for all tabs together: a page holds so many, and polls for the rest of its jobs. */
const HELD_MAX = 'location' in globalThis ? 3 : FOREVER
let held = 0

/** So often a way may fail while another gets through. */
const STRIKES_MAX = 2
/** A reader that takes no events is kept the newest. */
const PENDING_MAX = 100
/** A result of this size is read before it is handed on, so that a cut connection costs a request and nothing else. */
const READ_AHEAD_MAX = 1 << 20

/** Between parts of an answer that is under way. */
const PART_MS = 200

/** How it goes with the ways to hear of the job. */
interface Course {
  /** The way that is taken, of those there are. */
  level: number
  /** Failures of this way while the gateway was there. */
  strikes: number
  /** In a row, of whatever way. */
  failures: number
  /** The next question is a plain one. */
  checking: boolean
}

export class Following {
  readonly #http: Http
  readonly #url: string
  readonly #options: FollowOptions
  readonly #readers = new Set<Reader>()
  #last: JobEvent | undefined
  #stop: AbortController | undefined

  constructor(http: Http, url: string, options: FollowOptions = FOLLOW) {
    this.#http = http
    this.#url = url
    this.#options = options
  }

  /** The newest that is known. */
  get last(): JobEvent | undefined {
    return this.#last
  }

  /** From the newest snapshot to the end. Rejects with what the gateway says against it, when it is given up, and with the signal's reason. */
  async *events(signal?: AbortSignal): AsyncGenerator<JobEvent, void> {
    if (signal?.aborted === true) throw reasonOf(signal)
    const reader = new Reader(this.#last)
    const leave = (): void => reader.fail(reasonOf(signal as AbortSignal))
    signal?.addEventListener('abort', leave, { once: true })
    this.#readers.add(reader)
    if (!hasEnded(this.#last)) this.#stop ??= this.#start()
    try {
      for (;;) {
        const event = await reader.next()
        yield event
        if (event.event === 'end') return
      }
    } finally {
      signal?.removeEventListener('abort', leave)
      this.#readers.delete(reader)
      if (this.#readers.size === 0) this.#stop?.abort()
    }
  }

  /** What `…/result` answers once the job has ended, whatever that is. */
  async result(signal?: AbortSignal, told: (event: JobEvent) => void = () => undefined): Promise<Response> {
    for (let failures = 0; ; ) {
      try {
        for await (const event of this.events(signal)) told(event)
      } catch (error) {
        // What the gateway has against it (the job is forgotten, say) its result will say, too.
        if (!(error instanceof SpillwayError) || mayPass(error)) throw error
      }
      try {
        const answer = await this.#http.open(`${this.#url}/result`, { headMs: this.#http.options.timeoutMs, ...(signal && { signal }) })
        const response = await this.#resultIn(answer, signal)
        if (response !== undefined) return response
        // A dead letter that was sent again.
        this.#last = undefined
      } catch (error) {
        await this.#again(error, ++failures, signal)
      }
    }
  }

  /** Undefined: it has not ended. */
  async #resultIn(answer: OpenAnswer, signal = new AbortController().signal): Promise<Response | undefined> {
    const { response } = answer
    const status = response.headers.get('spillway-status')
    if (response.redirected) {
      // A result that leads on was followed, as `fetch` does. But a network may send all to its log-in page: then this question ends there, too.
      const asked = { http: this.#http, url: this.#url, heartbeatMs: 0, last: undefined, signal, told: () => undefined }
      await WAYS.poll(asked)
      return handedOver(answer)
    }
    if (status === null) {
      const { error, response: read } = await refusalOf(answer)
      if (mayPass(error)) throw error
      return read
    }
    if (isEnded(status)) return await this.#readAhead(answer, signal)
    answer.done()
    await response.body?.cancel()
    return undefined
  }

  async #readAhead(answer: OpenAnswer, signal: AbortSignal): Promise<Response> {
    const length = answer.response.headers.get('content-length')
    const response = this.goingOn(answer, signal)
    if (response.body === null || Number(length ?? FOREVER) > READ_AHEAD_MAX) return response
    try {
      return withBody(response, await response.arrayBuffer())
    } catch (error) {
      throw meaningOf(error, signal)
    }
  }

  /** The answer as it comes. Where it is cut off it goes on with what is missing, of the same answer and no other. */
  goingOn(answer: OpenAnswer, signal?: AbortSignal): Response {
    const { response } = answer
    const { headers } = response
    // Under way it has a number. Else it can be had in parts, and stays as it is when it succeeded.
    const number = /^\d+-/.exec(headers.get('spillway-offset') ?? '')?.[0]
    const inParts = number !== undefined || (response.status === 200 && headers.get('spillway-status') === 'succeeded')
    const idleMs = this.#http.options.timeoutMs
    // What was packed is counted unpacked here.
    if (!inParts || headers.has('content-encoding')) return handedOver(answer, { idleMs })
    const own = linked(signal)
    const done = (): void => {
      answer.done()
      own.abort(new SpillwayError('network', 'the reader has left'))
      own.done()
    }
    let isWhole = true
    let from = 0
    let failures = 0
    const goOn = async (at: number, broken: unknown): Promise<Response | undefined> => {
      if (broken === undefined && isWhole) return undefined
      if (at > from) failures = 0
      from = at
      for (let error = broken; ; ) {
        if (error !== undefined) await this.#again(meaningOf(error, own.signal), ++failures, own.signal)
        // A gateway that stops ends a part at once.
        else await rest(PART_MS, own.signal)
        try {
          const query = number === undefined ? '' : `?offset=${number}${at}&wait=${idleMs}ms`
          const call = { headers: { range: `bytes=${at}-` }, headMs: 2 * idleMs, signal: own.signal }
          const next = await this.#http.open(`${this.#url}/result${query}`, call)
          const complete = next.response.headers.get('spillway-complete')
          isWhole = complete !== 'false'
          if (complete !== null || next.response.status === 206) return handedOver(next, { idleMs })
          throw (await refusalOf(next)).error
        } catch (caught) {
          error = caught
        }
      }
    }
    return handedOver({ ...answer, done }, { goOn, ...(number === undefined && { idleMs }) })
  }

  #start(): AbortController {
    const stop = new AbortController()
    const over = (): void => {
      if (this.#stop === stop) this.#stop = undefined
    }
    stop.signal.addEventListener('abort', over)
    this.#follow(stop.signal).then(over, (error: unknown) => {
      over()
      if (!stop.signal.aborted) for (const reader of this.#readers) reader.fail(error as Error)
    })
    return stop
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const course: Course = { level: 0, strikes: 0, failures: 0, checking: false }
    for (;;) {
      const pause = await this.#listen(course, signal)
      if (hasEnded(this.#last)) return
      await rest(pause, signal)
    }
  }

  /** Once, by the best way that gets through. Resolves with the pause before the next time. */
  async #listen(course: Course, signal: AbortSignal): Promise<number> {
    const { ways, heartbeatMs } = this.#options
    const crowded = held >= HELD_MAX && ways.includes('poll')
    const way = course.checking || crowded ? 'poll' : (ways[course.level] as Way)
    const told = (event: JobEvent): void => {
      course.failures = 0
      if (!course.checking) course.strikes = 0
      if (!signal.aborted) this.#tell(event)
    }
    if (way !== 'poll') held++
    try {
      const pause = await WAYS[way]({ http: this.#http, url: this.#url, heartbeatMs, last: this.#last, signal, told })
      return this.#gotThrough(course, pause)
    } catch (error) {
      if (signal.aborted) throw reasonOf(signal)
      return this.#failed(course, way, error)
    } finally {
      if (way !== 'poll') held--
    }
  }

  #gotThrough(course: Course, pause: number): number {
    const { ways } = this.#options
    course.failures = 0
    if (!course.checking) return pause
    course.checking = false
    // The gateway is there, so it was the way.
    if (course.strikes >= STRIKES_MAX && course.level < ways.length - 1) {
      course.level++
      course.strikes = 0
    }
    return ways[course.level] === 'poll' ? pause : 0
  }

  /** The gateway is asked plainly next: that tells one that is away from a way that does not get through. */
  #failed(course: Course, way: Way, error: unknown): number {
    const passing = mayPass(error)
    if ((!passing && way !== 'sse') || ++course.failures > this.#options.failuresMax) throw error
    if (course.checking) course.strikes = 0
    else course.strikes += passing && error.code !== 'timeout' ? 1 : STRIKES_MAX
    course.checking = true
    return this.#pauseMs(course.failures, passing ? error.retryAfterMs : 0)
  }

  /** A pause, unless there is no use in another question. */
  async #again(error: unknown, failures: number, signal: AbortSignal | undefined): Promise<void> {
    if (!mayPass(error) || failures > this.#options.failuresMax) throw error
    await rest(this.#pauseMs(failures, error.retryAfterMs), signal)
  }

  #pauseMs(failures: number, retryAfterMs: number | undefined): number {
    return pauseMs(failures, this.#http.options.retry, retryAfterMs, 0)
  }

  #tell(event: JobEvent): void {
    if (this.#last !== undefined && event.version <= this.#last.version) return
    this.#last = event
    for (const reader of this.#readers) reader.tell(event)
  }
}

/** Also an answer that looks fine and is not the gateway's: the log-in page of a network, say. */
function mayPass(error: unknown): error is SpillwayError {
  return isPassing(error) || (error instanceof SpillwayError && error.code === 'bad_answer' && error.status < 300)
}

function hasEnded(event: JobEvent | undefined): boolean {
  return event !== undefined && isEnded(event.status)
}

/** What has been told and not been read. */
class Reader {
  readonly #pending: JobEvent[]
  #failure: Error | undefined
  #wake: (() => void) | undefined

  constructor(first: JobEvent | undefined) {
    this.#pending = first === undefined ? [] : [first]
  }

  tell(event: JobEvent): void {
    if (this.#pending.push(event) > PENDING_MAX) this.#pending.shift()
    this.#wake?.()
  }

  fail(error: Error): void {
    this.#failure ??= error
    this.#wake?.()
  }

  async next(): Promise<JobEvent> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      const event = this.#pending.shift()
      if (event !== undefined) return event
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}
