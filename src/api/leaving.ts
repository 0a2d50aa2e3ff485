/** When there is nobody to wait for any more: the client has gone, or the gateway shuts down and a client comes back to its successor. */
import type { ClosingSignal } from '../lib/closing.ts'
import type { Call } from '../net/call.ts'

export interface Leaving extends Disposable {
  readonly signal: AbortSignal
}

export function leaving(call: Call, closing: ClosingSignal): Leaving {
  const left = new AbortController()
  const leave = (): void => left.abort()
  call.onGone(leave)
  closing.addEventListener('abort', leave, { once: true })
  if (closing.aborted || call.gone) leave()
  return { signal: left.signal, [Symbol.dispose]: () => closing.removeEventListener('abort', leave) }
}
