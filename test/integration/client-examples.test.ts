/** The examples of docs/client.md, run as a user runs them. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Child, startChild } from '../support/children.ts'
import { startQueueRig } from '../support/queue-rig.ts'
import { until } from '../support/until.ts'

const EXAMPLES = join(import.meta.dirname, '..', '..', 'examples')

test('the sender sends, the worker works, and the sender hears what came of it', async () => {
  await using rig = await startQueueRig()
  const start = (name: string): Child => {
    const env = ['env', `SPILLWAY_URL=${rig.url}`, `SPILLWAY_TOKEN=${rig.token}`]
    return startChild([...env, process.execPath, join(EXAMPLES, name)], () => undefined)
  }
  const worker = start('queue-worker.ts')
  const sender = start('queue-sender.ts')
  assert.equal((await sender.exited).code, 0, sender.output)
  assert.match(sender.output, /^created created created$/m)
  assert.equal(sender.output.match(/ end succeeded /g)?.length, 2)
  assert.equal(sender.output.match(/sentAt: '/g)?.length, 2)
  assert.match(sender.output, /^consumer_failed: nobody is no address$/m)
  await until('the news are sent', () => worker.output.match(/: News to /g)?.length === 3)
  worker.signal('SIGTERM')
  assert.equal((await worker.exited).code, 0, worker.output)
  assert.match(worker.output, /^stopped, 0 jobs given back$/m)
  assert.equal(worker.errors.match(/RetryAfter: the mail server asked for a pause/g)?.length, 3)
})
