/**
 * Sends to a queue and waits for what comes of it. Beside it, `queue-worker.ts` does the work. Try, with a gateway as docs/client.md sets it up:
 * SPILLWAY_URL=http://127.0.0.1:8080 SPILLWAY_TOKEN=… node examples/queue-sender.ts
 */
import { createClient, SpillwayError } from 'spillway/client'

interface Mail {
  readonly to: string
  readonly subject: string
}

const { SPILLWAY_URL: url = 'http://127.0.0.1:8080', SPILLWAY_TOKEN: token = '' } = process.env
const mails = createClient({ url, token }).queue<Mail, { readonly sentAt: string }>('mail')

// One by one: resolved means synced to disk. Mails to one address go one at a time, in this order.
const welcome = await mails.send({ to: 'ann@example.com', subject: 'Welcome' }, { key: 'ann@example.com' })
const later = await mails.send({ to: 'ann@example.com', subject: 'How is it going?' }, { key: 'ann@example.com', delay: '1s' })

// Many: each has a result of its own, in the same order.
const results = await mails.sendMany(['ben', 'cem', 'dora'].map((name) => ({ payload: { to: `${name}@example.com`, subject: 'News' } })))
console.log(results.map(({ status }) => status).join(' '))

for (const { id, token: jobToken } of [welcome, later]) {
  const job = mails.follow(jobToken)
  for await (const { event, status, progress } of job.events()) console.log(id, event, status, progress ?? '')
  console.log(id, await job.value())
}

// What can never work is not tried again.
const wrong = await mails.send({ to: 'nobody', subject: 'Hello' })
await mails
  .follow(wrong.token)
  .value()
  .catch((error: unknown) => console.log(error instanceof SpillwayError ? error.message : error))
