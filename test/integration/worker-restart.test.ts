/** The gateway is killed and comes back while workers work, and answers are lost on the way: nothing is lost, nothing is settled twice. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createWorker, type Worker } from '../../src/client/worker/worker.ts'
import { startQueueProcess } from '../support/queue-rig.ts'
import { seedOf, SeededRandom } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'

const JOBS = 200
const KEYS = 20
const RESTARTS = 2
/** Of the whole: what is lost comes back when its lease is over. */
const LIMIT_MS = 120_000

interface Entry {
  readonly outcome: string
}

test(`${JOBS} jobs, two workers, a gateway that is killed ${RESTARTS} times, one request in twenty lost: each is settled once, keys in order`, async (t) => {
  const seed = seedOf()
  t.diagnostic(`SEED=${seed}`)
  const random = new SeededRandom(seed)
  await using rig = await startQueueProcess({ queues: { mail: { attempts: 1000, backoff: { base: '5ms', max: '20ms' } } } })
  const mail = rig.client.queue<number, number>('mail')
  const ended: { key: string; n: number }[] = []
  const work = (): Worker =>
    createWorker<number, number>({
      url: rig.url,
      token: rig.token,
      queue: 'mail',
      concurrency: 10,
      lease: '1s',
      wait: '200ms',
      backoff: { baseMs: 10, maxMs: 100 },
      onError: () => undefined,
      handler: async ({ payload, key = '' }, { signal }) => {
        await sleep(random.integer(20))
        if (!signal.aborted) ended.push({ key, n: payload })
        return payload
      },
    })
  await using first = work()
  await using second = work()
  let lost = 0
  rig.line.fault = () => {
    if (!random.chance(0.05)) return undefined
    lost++
    return random.pick(['lose-request', 'lose-answer'] as const)
  }
  const jobs = Array.from({ length: JOBS }, (_, n) => ({ payload: n, key: `k${n % KEYS}` }))
  const sent = await mail.sendMany(jobs)
  for (let i = 1; i <= RESTARTS; i++) {
    await until('some are done', () => ended.length >= (i * JOBS) / (RESTARTS + 2), LIMIT_MS)
    await rig.restart()
  }
  rig.line.fault = () => undefined
  await rig.untilJobs('mail', 'succeeded', JOBS, LIMIT_MS)
  await Promise.all([first.stop(), second.stop()])
  for (const [n, result] of sent.entries()) {
    assert.ok('id' in result)
    const history = (await rig.read(result.id))['history'] as readonly Entry[]
    assert.equal(history.filter(({ outcome }) => outcome === 'succeeded').length, 1)
    assert.equal(await mail.follow(result.token).value(), n)
  }
  // The canary: without losses there is nothing to prove.
  assert.ok(lost > 0, 'nothing was lost on the way')
  // First completions of a key come in the order of their jobs.
  for (let key = 0; key < KEYS; key++) {
    const order = [...new Set(ended.filter((each) => each.key === `k${key}`).map(({ n }) => n))]
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    )
  }
})
