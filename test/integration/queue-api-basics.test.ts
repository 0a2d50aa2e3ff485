import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ENGINES, startQueueApiRig } from '../support/queue-api-rig.ts'

for (const engine of ENGINES) {
  describe(`the queue API on the ${engine} engine`, () => {
    test('a job is sent, received, settled, and seen', async () => {
      await using rig = await startQueueApiRig({ engine })
      const sent = await rig.api('POST', '/queues/inbox/jobs', { payload: { to: 'a' }, reference: 'r1' })
      assert.equal(sent.status, 201, sent.text)
      const { id, token } = sent.document
      assert.ok(token.startsWith(`${id}.`))
      const received = await rig.api('POST', '/queues/inbox/receive', { max: 10, consumer: 'c1' })
      assert.equal(received.status, 200)
      const [job] = received.document.jobs
      assert.deepEqual([job.id, job.payload, job.attempt, job.reference, job.contentType], [id, { to: 'a' }, 1, 'r1', 'application/json'])
      const settlements = [{ receipt: job.receipt, outcome: 'succeed', result: { payload: { ok: true } } }]
      const settled = await rig.api('POST', '/queues/inbox/settle', { settlements })
      assert.deepEqual(settled.document, { results: [{ status: 'settled', job: 'succeeded' }] })
      const again = await rig.api('POST', '/queues/inbox/settle', { settlements })
      assert.deepEqual(again.document, { results: [{ status: 'stale' }] })
      const shown = await rig.api('GET', `/jobs/${id}?include=request,result,history`)
      assert.equal(shown.status, 200, shown.text)
      assert.deepEqual(shown.document.result, { status: 200, headers: {}, contentType: 'application/json', payload: { ok: true } })
      assert.equal(shown.document.history.length, 1)
      const listed = await rig.api('GET', '/queues/inbox/jobs')
      assert.deepEqual(
        listed.document.jobs.map((each: { id: string }) => each.id),
        [id],
      )
    })

    test('pause, resume, cancel, redrive', async () => {
      await using rig = await startQueueApiRig({ engine })
      assert.equal((await rig.admin('POST', '/queues/inbox/pause')).status, 200)
      const { id } = (await rig.admin('POST', '/queues/inbox/jobs', { text: 'x' })).document
      assert.deepEqual((await rig.admin('POST', '/queues/inbox/receive')).document.jobs, [])
      assert.equal((await rig.admin('GET', '/queues/inbox')).document.paused, true)
      assert.equal((await rig.admin('POST', '/queues/inbox/resume')).status, 200)
      const [job] = (await rig.admin('POST', '/queues/inbox/receive')).document.jobs
      const fail = { settlements: [{ receipt: job.receipt, outcome: 'fail', reason: 'no luck' }] }
      assert.deepEqual((await rig.admin('POST', '/queues/inbox/settle', fail)).document, {
        results: [{ status: 'settled', job: 'failed' }],
      })
      const redriven = await rig.admin('POST', `/jobs/${id}/redrive`, { text: 'y' })
      assert.equal(redriven.document.status, 'queued', redriven.text)
      const [next] = (await rig.admin('POST', '/queues/inbox/receive')).document.jobs
      assert.deepEqual([next.id, next.text], [id, 'y'])
      const cancelled = await rig.admin('DELETE', `/jobs/${id}`)
      assert.equal(cancelled.document.status, 'cancelled')
    })
  })
}
