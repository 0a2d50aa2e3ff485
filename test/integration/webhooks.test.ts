/** Webhooks from end to end: a job ends, and real receivers are told, in a way that the libraries of Standard Webhooks and Svix verify. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Webhook } from 'standardwebhooks'
import { SECRET, startWebhookRig } from '../support/webhook-rig.ts'
import type { Received } from '../support/test-server.ts'

function headersOf({ headers }: Received): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

test('the end of a job is told of, signed so that the library verifies it', async () => {
  await using rig = await startWebhookRig({
    handle: (_, response) => void response.setHeader('content-type', 'application/json').end('{"total": 12.50}'),
  })
  const id = await rig.submit('/work', { 'spillway-reference': 'order 7' })
  const [webhook] = await rig.received(1)
  const payload = new Webhook(SECRET).verify((webhook as Received).body, headersOf(webhook as Received)) as Record<string, unknown>
  assert.equal(payload['type'], 'job.succeeded')
  assert.equal(payload['id'], id)
  assert.equal(payload['reference'], 'order 7')
  assert.deepEqual(payload['result'], {
    status: 200,
    headers: { 'content-type': 'application/json' },
    encoding: 'json',
    body: { total: 12.5 },
  })
})
