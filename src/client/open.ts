/** One request with an end: a limit in time, the caller's signal, and what it means when there is no answer. */
import { SpillwayError } from './errors.ts'
import { reasonOf, TimeLimit } from './timing.ts'

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
  const own = linked(signal)
  const limit = new TimeLimit(ms, () => own.abort(timedOut(ms)))
  try {
    return await work(own.signal)
  } catch (error) {
    throw meaningOf(error, own.signal)
  } finally {
    limit.clear()
    own.done()
  }
}

/** One request, for its head; the body is the caller's, and so is the end of the connection. */
export async function openAnswer(fetcher: typeof fetch, url: string, call: OpenCall): Promise<OpenAnswer> {
  const { signal, headMs, ...init } = call
  const { abort, done, signal: ownSignal } = linked(signal)
  const limit = new TimeLimit(headMs, () => abort(timedOut(headMs)))
  try {
    const response = await fetcher(url, { ...init, signal: ownSignal })
    return { response, abort, done }
  } catch (error) {
    done()
    throw meaningOf(error, ownSignal)
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
function linked(signal: AbortSignal | undefined): Linked {
  if (signal?.aborted === true) throw reasonOf(signal)
  const own = new AbortController()
  const leave = (): void => own.abort(reasonOf(signal as AbortSignal))
  signal?.addEventListener('abort', leave, { once: true })
  return { signal: own.signal, abort: (reason) => own.abort(reason), done: () => signal?.removeEventListener('abort', leave) }
}

/** The answer for the caller to read, who may abort as long as it does; after that nothing of it hangs on the caller's signal. */
export function handedOver(answer: OpenAnswer): Response {
  const { response, done } = answer
  const reader = response.body?.getReader()
  if (reader === undefined) {
    done()
    return response
  }
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const piece = await reader.read()
        if (!piece.done) return controller.enqueue(piece.value)
        done()
        controller.close()
      } catch (error) {
        done()
        controller.error(error)
      }
    },
    async cancel(reason) {
      done()
      await reader.cancel(reason)
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

function timedOut(ms: number): SpillwayError {
  return new SpillwayError('timeout', `no answer within ${ms} ms`)
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  return cause instanceof Error && cause.message !== '' ? `${error.message} (${cause.message})` : error.message
}
