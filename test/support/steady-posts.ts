/** Posts at an even pace, whatever becomes of them (an open loop, as many users are), and what each was answered. */
import { ask } from './http-client.ts'

export interface Posted {
  readonly n: number
  readonly key: string | undefined
  /** Milliseconds of `performance.now()`. */
  readonly sentAt: number
  endedAt: number
  /** 0: there was no answer. */
  status: number
  error: string
  job: string
}

export interface SteadyPosts extends AsyncDisposable {
  readonly all: readonly Posted[]
  /** Sends no more. Resolves when all are answered. */
  stop(): Promise<void>
}

/** Every other one has one of `keys` keys, in `X-Key`. */
export function postSteadily(url: () => string, perSecond: number, keys: number): SteadyPosts {
  const all: Posted[] = []
  const open = new Set<Promise<void>>()
  const startedAt = performance.now()
  const send = (): void => {
    const due = Math.floor(((performance.now() - startedAt) * perSecond) / 1000)
    while (all.length < due) {
      const n = all.length
      const key = n % 2 === 0 ? `k${(n / 2) % keys}` : undefined
      const posted: Posted = { n, key, sentAt: performance.now(), endedAt: 0, status: 0, error: '', job: '' }
      all.push(posted)
      const done: Promise<void> = post(url(), posted).finally(() => open.delete(done))
      open.add(done)
    }
  }
  const timer = setInterval(send, 5)
  const stop = async (): Promise<void> => {
    clearInterval(timer)
    await Promise.all(open)
  }
  return { all, stop, [Symbol.asyncDispose]: stop }
}

async function post(url: string, posted: Posted): Promise<void> {
  const headers = posted.key === undefined ? {} : { 'X-Key': posted.key }
  try {
    const answer = await ask(url, { method: 'POST', body: `order ${posted.n}`, headers })
    posted.status = answer.status
    posted.job = String(answer.headers['spillway-job'] ?? '')
  } catch (error) {
    posted.error = String(error)
  }
  posted.endedAt = performance.now()
}
