/** One request with an end: a limit in time, the caller's signal, and what it means when there is no answer. */
import { SpillwayError } from './errors.ts'
import { FOREVER, reasonOf, TimeLimit } from './timing.ts'

export interface OpenCall extends RequestInit {
  readonly signal?: AbortSignal
  readonly headMs: number
}

export interface OpenAnswer {
  readonly response: Response
  /** Ends the connection; the body rejects. */
  readonly abort: (reason: Error) => void
  /** Forgets the caller's signal. */
  readonly done: () => void
}

/** Runs `work` with a signal that is aborted when the time is up, or by the caller. */
export async function limited<T>(ms: number, signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  return await begun(ms, signal, async (own) => {
    const value = await work(own.signal)
    own.done()
    return value
  })
}

/** One request, for its head; the body is the caller's, and so is the end of the connection. */
export async function openAnswer(fetcher: typeof fetch, url: string, call: OpenCall): Promise<OpenAnswer> {
  const { signal, headMs, ...init } = call
  return await begun(headMs, signal, async (own) => ({ ...own, response: await fetcher(url, { ...init, signal: own.signal }) }))
}

/** What goes well keeps its signal, and with it the caller's. */
async function begun<T>(ms: number, signal: AbortSignal | undefined, work: (own: Linked) => Promise<T>): Promise<T> {
  const own = linked(signal)
  const limit = new TimeLimit(ms, () => own.abort(timedOut(ms)))
  try {
    return await work(own)
  } catch (error) {
    own.done()
    throw meaningOf(error, own.signal)
  } finally {
    limit.clear()
  }
}

interface Linked {
  readonly signal: AbortSignal
  readonly abort: (reason: Error) => void
  readonly done: () => void
}

/** Aborted with the caller's signal, or by itself. Throws when that has happened already. */
export function linked(signal: AbortSignal | undefined): Linked {
  if (signal?.aborted === true) throw reasonOf(signal)
  const own = new AbortController()
  const leave = (): void => own.abort(reasonOf(signal as AbortSignal))
  signal?.addEventListener('abort', leave, { once: true })
  return { signal: own.signal, abort: (reason) => own.abort(reason), done: () => signal?.removeEventListener('abort', leave) }
}

export interface Reading {
  /** For each piece. Absent: it may take as long as it likes. */
  readonly idleMs?: number
  /** The rest of a body that has ended, or broke off (`broken`), after so many bytes. Undefined: that was all. */
  readonly goOn?: (at: number, broken: unknown) => Promise<Response | undefined>
}

/** The answer for the caller to read, who may abort as long as it does; after that nothing of it hangs on the caller's signal. */
export function handedOver({ response, abort, done }: OpenAnswer, { idleMs = FOREVER, goOn }: Reading = {}): Response {
  if (response.body === null) {
    done()
    return response
  }
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined = response.body.getReader()
  let at = 0
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        for (;;) {
          let broken: Error | undefined
          const limit = new TimeLimit(idleMs, () => abort(timedOut(idleMs)))
          const read = await reader?.read().catch((error: Error) => void (broken = error))
          limit.clear()
          if (read?.value !== undefined) {
            at += read.value.length
            return controller.enqueue(read.value)
          }
          if (broken !== undefined && goOn === undefined) throw broken
          const rest = await goOn?.(at, broken)
          if (rest === undefined) break
          reader = rest.body?.getReader()
        }
        controller.close()
      } catch (error) {
        controller.error(error)
      }
      done()
    },
    cancel(reason) {
      done()
      // One that broke off says so once more.
      reader?.cancel(reason).catch(() => undefined)
    },
  })
  return withBody(response, body)
}

/** The same answer with another reading of its body. */
export function withBody({ status, statusText, headers }: Response, body: string | ArrayBuffer | ReadableStream<Uint8Array>): Response {
  return new Response(body, { status, statusText, headers })
}

/** What a failed fetch means: the caller's own reason, ours, or a connection that broke. */
export function meaningOf(error: unknown, signal: AbortSignal | undefined): Error {
  if (error instanceof SpillwayError) return error
  if (signal?.aborted === true) return reasonOf(signal)
  return new SpillwayError('network', `no answer: ${messageOf(error)}`, { cause: error })
}

export function timedOut(ms: number): SpillwayError {
  return new SpillwayError('timeout', `no answer within ${ms} ms`)
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  return cause instanceof Error && cause.message !== '' ? `${error.message} (${cause.message})` : error.message
}
