/**
 * Works off the queue `mail`: four at a time, each with a lease that is extended for as long as its handler runs. Try, in a terminal of its own:
 * SPILLWAY_URL=http://127.0.0.1:8080 SPILLWAY_TOKEN=… node examples/queue-worker.ts
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createWorker, Fail, RetryAfter } from 'spillway/worker'

interface Mail {
  readonly to: string
  readonly subject: string
}

const { SPILLWAY_URL: url = 'http://127.0.0.1:8080', SPILLWAY_TOKEN: token = '' } = process.env

const worker = createWorker<Mail, { readonly sentAt: string }>({
  url,
  token,
  queue: 'mail',
  name: `mailer-${process.pid}`,
  concurrency: 4,
  handler: async ({ id, payload, attempt }, { signal, progress }) => {
    if (!payload.to.includes('@')) throw new Fail(`${payload.to} is no address`)
    if (payload.subject === 'News' && attempt === 1) throw new RetryAfter('200ms', 'the mail server asked for a pause')
    await progress({ percent: 50 })
    // Pass the signal on: it says when nobody wants the result any more.
    await sleep(100, undefined, { signal })
    console.log(`${id}: ${payload.subject} to ${payload.to}`)
    return { sentAt: new Date().toISOString() }
  },
})

process.once('SIGTERM', () => {
  void worker.stop({ timeoutMs: 10_000 }).then(({ released }) => console.log(`stopped, ${released} jobs given back`))
})
console.log('ready')
