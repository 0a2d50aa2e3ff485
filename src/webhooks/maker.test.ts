import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Config, WebhooksConfig } from '../config/config.ts'
import { loadText } from '../config/load.ts'
import { KEY_LENGTH_MAX, TENANT_LENGTH_MAX } from '../core/jobs/limits.ts'
import type { StoredJob } from '../ports/job-store.ts'
import { systemClock } from '../ports/system.ts'
import { createTelemetry } from '../telemetry/create-telemetry.ts'
import { Endpoints } from './endpoints.ts'
import { jobOfEvent, type MakerSettings, WebhookMaker, type WebhookJob } from './maker.ts'

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const YAML = `
pools: { api: [http://127.0.0.1:3001] }
routes: [{ match: POST /reports, mode: queue }]
webhooks:
  endpoints:
    all: { url: https://a.example/, secret: ${SECRET}, order: key }
    callback: { url: https://b.example/, secret: ${SECRET}, events: [batch.ended] }
    some: { url: https://c.example/, secret: ${SECRET}, queues: [reports] }
`

function rig(): { readonly maker: WebhookMaker; readonly settings: MakerSettings } {
  const loaded = loadText(YAML, { file: 'x.yaml', folder: '/' }, {})
  assert.ok(loaded.ok)
  const config: Config = loaded.config
  const webhooks = config.webhooks as WebhooksConfig
  const telemetry = createTelemetry({ format: 'json', access: 'off', write: () => undefined })
  const store = { notes: () => Promise.resolve([]), command: () => Promise.resolve([]) }
  const endpoints = new Endpoints({ store, clock: systemClock, telemetry }, webhooks)
  const queue = config.queues.find(({ name }) => name === 'webhooks')
  assert.ok(queue !== undefined)
  return { maker: new WebhookMaker({ endpoints, documentOf: ({ id, status }) => ({ id, status }) }), settings: { config: webhooks, queue } }
}

const ended: StoredJob = {
  ...{ id: '0akvmv9ew00', secret: 's', queue: 'reports', route: 'POST /reports', status: 'succeeded', version: 7, bucket: 0, priority: 0 },
  ...{ attempt: 1, attempts: 3, handOuts: 1, submittedAt: 1000, finishedAt: 2000, blocksKey: false, redrives: 0, requestBytes: 1 },
  ...{ hasAnswer: false, sendOnce: false, method: 'POST' },
}

async function made(change: Partial<StoredJob>): Promise<readonly WebhookJob[]> {
  const { maker, settings } = rig()
  const followUp = await maker.followUp({ job: { ...ended, ...change }, answer: () => Promise.resolve(undefined) }, settings)
  return followUp?.jobs ?? []
}

test('each recipient of an event has a webhook of its own, also an endpoint that is called like callbacks are', async () => {
  const { maker, settings } = rig()
  const event = { id: 'msg_batch_1', type: 'batch.ended', at: 0, document: { id: '1' }, callback: 'https://d.example:8443/x' }
  const jobs = maker.jobsTo(maker.recipientsOf(event), event, settings)
  assert.deepEqual(
    jobs.map(({ name, job }) => [name, job.tenant, job.request.target, job.reference]),
    [
      ['webhook all', 'all', '/all', 'msg_batch_1'],
      ['webhook callback', 'callback', '/callback', 'msg_batch_1'],
      ['callback', 'callback d.example:8443', 'https://d.example:8443/x', 'msg_batch_1'],
    ],
  )
  assert.equal(
    Buffer.from(jobs[0]?.job.request.body ?? []).toString(),
    '{"type":"batch.ended","timestamp":"1970-01-01T00:00:00.000Z","id":"1"}',
  )
})

test('the end of a job is one event, whose id leads back to it; made again it is the same', async () => {
  const jobs = await made({})
  assert.deepEqual(
    jobs.map(({ name }) => name),
    ['webhook all', 'webhook some'],
  )
  assert.deepEqual(jobOfEvent(jobs[0]?.job.reference ?? ''), { job: ended.id, end: '0_2000' })
  assert.deepEqual(await made({}), jobs)
  assert.deepEqual(await made({ version: 8 }), jobs)
  assert.notEqual((await made({ redrives: 1 }))[0]?.job.reference, jobs[0]?.job.reference)
  assert.equal(jobOfEvent('msg_test_1'), undefined)
})

test('nothing is made of the end of a webhook, or of what has not ended', async () => {
  assert.deepEqual(await made({ queue: 'webhooks' }), [])
  assert.deepEqual(await made({ queue: 'webhooks-as-they-were-called', route: 'webhook' }), [])
  assert.deepEqual(await made({ status: 'running' }), [])
})

test('a key is kept apart from those of other endpoints, and is as long as a key may be', async () => {
  const keyFor = async (length: number): Promise<string | undefined> => (await made({ key: 'k'.repeat(length) }))[0]?.job.key
  const longest = KEY_LENGTH_MAX - 'all/'.length
  assert.equal(await keyFor(longest), `all/${'k'.repeat(longest)}`)
  assert.match((await keyFor(longest + 1)) ?? '', /^all\/[0-9a-f]{64}$/)
  assert.equal((await made({ key: 'k' }))[1]?.job.key, undefined)
})

test('a callback that another version has written and that is no URL stops nobody', async () => {
  assert.equal((await made({ followUp: '{"callback":"nowhere"}' })).length, 2)
  assert.equal((await made({ followUp: '{"callback":7}' })).length, 2)
  const [, , callback] = await made({ followUp: JSON.stringify({ callback: `https://${'h'.repeat(300)}/` }) })
  assert.equal(callback?.job.tenant?.length, TENANT_LENGTH_MAX)
})
