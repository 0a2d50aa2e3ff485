import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asksFor, asksForQueue, eventTypeOf } from './events.ts'

test('every end of a job has a type, and what has not ended has none', () => {
  assert.deepEqual((['succeeded', 'failed', 'cancelled', 'expired', 'queued', 'running', 'retrying'] as const).map(eventTypeOf), [
    'job.succeeded',
    'job.failed',
    'job.cancelled',
    'job.expired',
    undefined,
    undefined,
    undefined,
  ])
})

test('types, queues and routes are filtered, by name or by how they begin', () => {
  const filter = { events: ['job.failed', 'batch.ended'], queues: ['orders', 'mail.*'], routes: ['POST /v1/*'] }
  const failed = { type: 'job.failed', queue: 'orders', route: 'POST /v1/orders' }
  assert.ok(asksFor(filter, failed))
  assert.ok(asksFor(filter, { ...failed, queue: 'mail.eu' }))
  assert.ok(!asksFor(filter, { ...failed, type: 'job.succeeded' }))
  assert.ok(!asksFor(filter, { ...failed, queue: 'orders2' }))
  assert.ok(!asksFor(filter, { ...failed, route: 'POST /v2/orders' }))
  assert.ok(asksFor(filter, { ...failed, type: 'batch.ended' }))
  assert.ok(!asksFor(filter, { type: 'batch.ended' }), 'of what it does not name it may not hear')
  assert.ok(asksFor({ events: ['batch.ended'] }, { type: 'batch.ended' }))
  assert.ok(asksFor({ events: ['job.failed'] }, failed))
})

test('only queues of whose jobs somebody may ask are followed', () => {
  assert.ok(asksForQueue({ events: ['job.failed'], queues: ['a*'] }, 'ab'))
  assert.ok(!asksForQueue({ events: ['job.failed'], queues: ['a*'] }, 'b'))
  assert.ok(!asksForQueue({ events: ['batch.ended'] }, 'ab'))
})
