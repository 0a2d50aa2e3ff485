/** Waits that end early when the client leaves or the gateway shuts down: asking again costs the client nothing. */
import type { Call } from '../net/call.ts'

/** `wait` is told by its signal to come to its end. */
export async function whileHere<T>(call: Call, closing: AbortSignal, wait: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const gone = new AbortController()
  const leave = (): void => gone.abort()
  call.onGone(leave)
  closing.addEventListener('abort', leave, { once: true })
  if (closing.aborted || call.gone) leave()
  try {
    return await wait(gone.signal)
  } finally {
    closing.removeEventListener('abort', leave)
  }
}
