/** Looking into queues and mending them: filters, pages, text, what is not shown; jobs that run again, move or go, one by one and many at once. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Document, ENGINES, type QueueApiRig, startQueueApiRig } from '../support/queue-api-rig.ts'
import { until } from '../support/until.ts'

const send = async (rig: QueueApiRig, job: object): Promise<string> => (await rig.api('POST', '/queues/inbox/jobs', job)).document.id
const list = async (rig: QueueApiRig, query: string): Promise<Document> => (await rig.api('GET', `/queues/inbox/jobs${query}`)).document
const ids = ({ jobs }: Document): string[] => jobs.map(({ id }: Document) => id)
const take = async (rig: QueueApiRig): Promise<Document> => (await rig.api('POST', '/queues/inbox/receive')).document.jobs[0]
const fail = async (rig: QueueApiRig, reason = 'no'): Promise<void> => {
  const { receipt } = await take(rig)
  await rig.api('POST', '/queues/inbox/settle', { settlements: [{ receipt, outcome: 'fail', reason }] })
}

for (const engine of ENGINES) {
  describe(`looking and mending on the ${engine} engine`, () => {
    test('jobs are found by status, key, tenant, reference, time and reason of death', async () => {
      await using rig = await startQueueApiRig({ engine })
      const dead = await send(rig, { text: 'a' })
      await fail(rig)
      const keyed = await send(rig, { text: 'b', key: 'k', tenant: 't', reference: 'r' })
      const between = new Date(Date.now() + 1).toISOString()
      await until('time passes', () => Date.now() > Date.parse(between))
      const later = await send(rig, { text: 'c' })
      assert.deepEqual(ids(await list(rig, '')), [dead, keyed, later])
      assert.deepEqual(ids(await list(rig, '?order=newest')), [later, keyed, dead])
      assert.deepEqual(ids(await list(rig, '?status=queued')), [keyed, later])
      assert.deepEqual(ids(await list(rig, '?status=failed,running')), [dead])
      assert.deepEqual(ids(await list(rig, '?dead=true')), [dead])
      assert.deepEqual(ids(await list(rig, '?dead=consumer_failed')), [dead])
      assert.deepEqual(ids(await list(rig, '?dead=poison')), [])
      for (const query of ['key=k', 'tenant=t', 'reference=r', 'key=k&tenant=t&status=queued'])
        assert.deepEqual(ids(await list(rig, `?${query}`)), [keyed])
      assert.deepEqual(ids(await list(rig, `?since=${between}`)), [later])
      assert.deepEqual(ids(await list(rig, `?until=${between}`)), [dead, keyed])
      for (const query of ['status=x', 'since=now', 'limit=0', 'limit=1001', 'order=up', 'after=A_', `text=${'x'.repeat(257)}`]) {
        assert.equal((await rig.api('GET', `/queues/inbox/jobs?${query}`)).status, 400, query)
      }
    })

    test('pages follow each other, in both directions', async () => {
      await using rig = await startQueueApiRig({ engine })
      const { results } = (await rig.api('POST', '/queues/inbox/jobs', { jobs: Array.from({ length: 25 }, () => ({})) })).document
      const all = results.map(({ id }: Document) => id)
      for (const order of ['oldest', 'newest']) {
        const seen: string[] = []
        for (let after = ''; ; ) {
          const page = await list(rig, `?order=${order}&limit=10${after}`)
          seen.push(...ids(page))
          if (page.next === undefined) break
          after = `&after=${page.next}`
        }
        assert.deepEqual(seen, order === 'oldest' ? all : all.toReversed())
      }
    })

    test('a text is found in target, headers and bodies of requests and results, not in credentials', async () => {
      await using rig = await startQueueApiRig({ engine })
      const inTarget = await send(rig, { target: '/Needle' })
      const inHeader = await send(rig, { headers: { 'x-a': 'a needle' } })
      const inBody = await send(rig, { payload: { a: 'NEEDLE' } })
      await send(rig, { headers: { authorization: 'Bearer needle', cookie: 'needle' }, text: 'hay' })
      assert.deepEqual(ids(await list(rig, '?text=needle')), [inTarget, inHeader, inBody])
      const { id, receipt } = await take(rig)
      await rig.api('POST', '/queues/inbox/settle', { settlements: [{ receipt, outcome: 'succeed', result: { text: 'the result' } }] })
      assert.deepEqual(ids(await list(rig, '?text=the+result')), [id])
      const first = await list(rig, '?text=needle&limit=1')
      assert.deepEqual(ids(first), [inHeader])
      assert.deepEqual(ids(await list(rig, `?text=needle&after=${first.next}`)), [inBody])
    })

    test('credentials, tokens, secrets and receipts are not shown', async () => {
      await using rig = await startQueueApiRig({ engine })
      const headers = { Authorization: 'Bearer s3cret', Cookie: 'a=s3cret', 'X-Api-Key': 's3cret', 'X-Plain': 'seen' }
      const { id, token } = (await rig.api('POST', '/queues/inbox/jobs', { text: 'x', headers })).document
      const job = await take(rig)
      assert.equal(job.headers.authorization, 'Bearer s3cret')
      const secret = token.split('.')[1]
      for (const path of [
        `/jobs/${id}?include=request,result,history`,
        '/queues/inbox/jobs?include=request',
        '/queues/inbox/peek',
        '/queues/inbox',
        '/queues',
      ]) {
        const { text } = await rig.api('GET', path)
        for (const hidden of ['s3cret', secret, job.receipt.split('.')[3]]) assert.ok(!text.includes(hidden), `${path} shows ${hidden}`)
      }
      const { request } = (await rig.api('GET', `/jobs/${id}?include=request`)).document
      assert.deepEqual([request.headers['authorization'], request.headers['x-plain'], request.text], ['[redacted]', 'seen', 'x'])
    })

    test('what is next in line is shown by priority and age, without what waits', async () => {
      await using rig = await startQueueApiRig({ engine })
      const first = await send(rig, { text: '1' })
      const urgent = await send(rig, { text: '2', priority: 9 })
      await send(rig, { text: '3', delay: '1h' })
      const keyed = await send(rig, { text: '4', key: 'k' })
      await send(rig, { text: '5', key: 'k' })
      const { jobs } = (await rig.api('GET', '/queues/inbox/peek')).document
      assert.deepEqual(ids({ jobs }), [urgent, first, keyed])
      assert.equal(jobs[0].request.text, '2')
      assert.deepEqual(ids((await rig.api('GET', '/queues/inbox/peek?max=1')).document), [urgent])
      assert.equal((await take(rig)).id, urgent)
    })

    test('a key that a failed job blocks is shown, and released', async () => {
      const rules = { onFailure: 'block', overflow: 'refuse' } as const
      await using rig = await startQueueApiRig({ engine, queues: [{ name: 'inbox', rules }] })
      const failed = await send(rig, { text: '1', key: 'k' })
      const next = await send(rig, { text: '2', key: 'k' })
      await fail(rig)
      assert.equal(await take(rig), undefined)
      const { keys } = (await rig.api('GET', '/queues/inbox/keys?blocked=true')).document
      assert.deepEqual(keys, [{ key: 'k', holder: failed, status: 'failed', blocked: true, waiting: 1 }])
      const waiting = rig.api('POST', '/queues/inbox/receive', { wait: '20s' })
      assert.equal((await rig.api('POST', '/queues/inbox/keys/release', { key: 'k' })).status, 200)
      assert.equal((await waiting).document.jobs[0].id, next)
      assert.equal((await rig.api('POST', '/queues/inbox/keys/release', { key: 'k' })).status, 409)
    })

    test('a dead letter runs again, as it was or changed; credentials that were shown as hidden stay', async () => {
      await using rig = await startQueueApiRig({ engine, queues: [{ name: 'inbox' }, { name: 'other' }] })
      const id = await send(rig, { text: 'a', headers: { Authorization: 'Bearer x', 'X-A': '1' }, target: '/t' })
      assert.equal((await rig.api('POST', `/jobs/${id}/redrive`)).document.code, 'wrong_state')
      await fail(rig)
      assert.equal((await rig.api('POST', `/jobs/${id}/redrive`)).document.redrives, 1)
      const same = await take(rig)
      assert.deepEqual([same.text, same.headers, same.target], ['a', { authorization: 'Bearer x', 'x-a': '1' }, '/t'])
      await rig.api('POST', '/queues/inbox/settle', { settlements: [{ receipt: same.receipt, outcome: 'fail' }] })
      const shown = (await rig.api('GET', `/jobs/${id}?include=request`)).document.request
      const change = { payload: { b: 1 }, headers: { ...shown.headers, 'x-b': '2' }, queue: 'other' }
      assert.equal((await rig.api('POST', `/jobs/${id}/redrive`, change)).document.queue, 'other')
      const [changed] = (await rig.api('POST', '/queues/other/receive')).document.jobs
      assert.deepEqual([changed.id, changed.payload, changed.contentType, changed.target], [id, { b: 1 }, 'application/json', '/t'])
      assert.deepEqual(changed.headers, { authorization: 'Bearer x', 'x-a': '1', 'x-b': '2' })
      assert.equal((await rig.api('POST', `/jobs/${id}/redrive`, { text: 1 })).status, 400)
      assert.equal((await rig.api('POST', `/jobs/${id}/redrive`, { queue: 'nowhere' })).document.code, 'no_such_queue')
    })

    test('a waiting job moves, an ended one is forgotten, an unknown one is not there', async () => {
      await using rig = await startQueueApiRig({ engine, queues: [{ name: 'inbox' }, { name: 'other' }] })
      const id = await send(rig, { text: 'a' })
      assert.equal((await rig.api('POST', `/jobs/${id}/move`, { queue: 'other' })).document.queue, 'other')
      assert.equal((await rig.api('DELETE', `/jobs/${id}?forget=true`)).document.code, 'wrong_state')
      assert.equal((await rig.api('DELETE', `/jobs/${id}`)).document.status, 'cancelled')
      assert.equal((await rig.api('DELETE', `/jobs/${id}?forget=true`)).status, 204)
      for (const [method, path] of [
        ['GET', `/jobs/${id}`],
        ['DELETE', '/jobs/nothing'],
        ['POST', '/jobs/0000000000a/redrive'],
      ] as const) {
        assert.equal((await rig.api(method, path)).document.code, 'no_such_job')
      }
    })

    test('many dead letters run again step by step; a task is told of, and stopped', async () => {
      await using rig = await startQueueApiRig({ engine })
      for (let i = 0; i < 5; i++) await send(rig, { text: `${i}` })
      for (let i = 0; i < 4; i++) await fail(rig)
      const begun = await rig.api('POST', '/queues/inbox/tasks', { kind: 'redrive', filter: { dead: 'consumer_failed' } })
      assert.equal(begun.status, 202, begun.text)
      await until('it is done', async () => {
        const { tasks } = (await rig.api('GET', '/tasks')).document
        return tasks.find(({ id }: Document) => id === begun.document.id)?.done === 4
      })
      assert.equal((await rig.api('GET', '/queues/inbox')).document.counts.queued, 5)
      const slow = await rig.api('POST', '/queues/inbox/tasks', { kind: 'cancel', perSecond: 0.001 })
      assert.equal((await rig.api('DELETE', `/tasks/${slow.document.id}`)).status, 204)
      assert.equal((await rig.api('DELETE', '/tasks/999')).document.code, 'no_such_task')
      for (const body of [
        { kind: 'x' },
        { kind: 'move' },
        { kind: 'cancel', to: 'inbox' },
        { kind: 'redrive', filter: { x: 1 } },
        { kind: 'forget', perSecond: 0 },
      ]) {
        assert.equal((await rig.api('POST', '/queues/inbox/tasks', body)).status, 400)
      }
    })

    test('a purge wants the name of the queue, and leaves nothing', async () => {
      await using rig = await startQueueApiRig({ engine })
      await send(rig, { text: 'a' })
      await fail(rig)
      await send(rig, { text: 'b' })
      assert.equal((await rig.api('POST', '/queues/inbox/purge', {})).status, 400)
      const purged = await rig.api('POST', '/queues/inbox/purge', { confirm: 'inbox' })
      assert.deepEqual([purged.status, purged.document.kind], [202, 'cancel'])
      await until('nothing is left', async () => ids(await list(rig, '')).length === 0)
    })

    test('a queue is made, changed, found after a restart, and dropped when it is empty', async () => {
      await using rig = await startQueueApiRig({ engine: 'embedded' })
      const made = await rig.api('PUT', '/queues/mails', { attempts: 3, limits: { jobs: 2 }, rate: '5/s' })
      assert.deepEqual([made.status, made.document.definedIn, made.document.pull, made.document.attempts], [201, 'api', true, 3])
      assert.deepEqual(made.document.rules.rate, { count: 5, perMs: 1000 })
      assert.equal((await rig.api('PUT', '/queues/mails', { attempts: 4, limits: { jobs: 2 } })).status, 200)
      assert.equal((await rig.api('POST', '/queues/mails/jobs', { text: 'x' })).status, 201)
      await rig.restart()
      const found = (await rig.api('GET', '/queues/mails')).document
      assert.deepEqual(
        [found.attempts, found.limits.jobs, found.counts.queued, found.definition],
        [4, 2, 1, { attempts: 4, limits: { jobs: 2 } }],
      )
      assert.equal((await rig.api('DELETE', '/queues/mails')).document.code, 'not_empty')
      const [job] = (await rig.api('POST', '/queues/mails/receive')).document.jobs
      await rig.api('DELETE', `/jobs/${job.id}`)
      await rig.api('DELETE', `/jobs/${job.id}?forget=true`)
      assert.equal((await rig.api('DELETE', '/queues/mails')).status, 204)
      assert.equal((await rig.api('GET', '/queues/mails')).document.code, 'no_such_queue')
      for (const [method, path, body] of [
        ['PUT', '/queues/inbox', {}],
        ['DELETE', '/queues/inbox', undefined],
      ] as const) {
        assert.equal((await rig.api(method, path, body)).document.code, 'defined_in_file')
      }
      const wrong = await rig.api('PUT', '/queues/mails', { attempts: 0, atempts: 1, pool: 'x' })
      assert.equal(wrong.document.detail, 'attempts: must be at least 1, not 0; atempts: unknown key (did you mean attempts?).')
      assert.equal((await rig.api('PUT', '/queues/mails', { pool: 'x' })).document.detail, 'pool: there is no pool "x".')
      assert.equal((await rig.api('PUT', '/queues/-x', {})).status, 400)
    })
  })
}

test('a queue that the API made with a pool is worked off by it, also after a restart and a change', async () => {
  const { startTestServer } = await import('../support/test-server.ts')
  const server = await startTestServer()
  await using rig = await startQueueApiRig({ engine: 'embedded', servers: [server.port] })
  await rig.admin('PUT', '/queues/mails', { pool: 'api', concurrency: 1 })
  const sendAndWait = async (text: string): Promise<void> => {
    const { id } = (await rig.api('POST', '/queues/mails/jobs', { text })).document
    await until(`${text} is done`, async () => (await rig.api('GET', `/jobs/${id}`)).document.status === 'succeeded')
  }
  await sendAndWait('a')
  await rig.restart()
  await sendAndWait('b')
  assert.equal((await rig.api('POST', '/queues/mails/receive')).document.code, 'not_pulled')
  await rig.api('PUT', '/queues/mails', { pool: 'api', concurrency: 2 })
  await sendAndWait('c')
  await rig.api('PUT', '/queues/mails', {})
  await rig.api('POST', '/queues/mails/jobs', { text: 'd' })
  assert.equal((await rig.api('POST', '/queues/mails/receive', { wait: '10s' })).document.jobs[0].text, 'd')
  assert.deepEqual(
    server.received.map(({ body }) => body.toString()),
    ['a', 'b', 'c'],
  )
  await server.kill()
})
