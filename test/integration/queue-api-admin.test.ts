/** The queue API on the admin address: bodies stream in both directions, who leaves is noticed, and there is always room for health checks. */
import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { test } from 'node:test'
import { type Document, type QueueApiRig, startQueueApiRig } from '../support/queue-api-rig.ts'
import { ask } from '../support/http-client.ts'
import { until } from '../support/until.ts'

function open(rig: QueueApiRig, path: string, type = 'application/json'): ReturnType<typeof httpRequest> {
  const headers = { 'content-type': type }
  const request = httpRequest(`http://127.0.0.1:${rig.adminPort}/api${path}`, { method: 'POST', headers, agent: false })
  request.on('error', () => undefined)
  return request
}

const untilWaiting = (rig: QueueApiRig, count: number): Promise<void> =>
  until(`${count} receivers wait`, async () => (await rig.api('GET', '/queues/inbox')).document.receivers === count)

test('lines are answered while the client is still sending, at its pace', async () => {
  await using rig = await startQueueApiRig()
  const request = open(rig, '/queues/inbox/jobs', 'application/x-ndjson')
  let text = ''
  const ended = new Promise<void>((resolve) => {
    request.on('response', (response) => {
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', resolve)
    })
  })
  const lines = (): Document[] => text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Document]))
  request.write('{"text":"a"}\n')
  await until('the first result is there', () => lines().length === 1)
  for (let i = 0; i < 3000; i++) request.write(`{"text":"${i}"}\n`)
  request.end('{"text":"the last"}')
  await ended
  assert.equal(lines().length, 3002)
  assert.ok(lines().every(({ status }) => status === 'created'))
})

test('a consumer that leaves while it waits leaves the line', async () => {
  await using rig = await startQueueApiRig()
  const request = open(rig, '/queues/inbox/receive')
  request.end('{"wait":"20s"}')
  await untilWaiting(rig, 1)
  request.destroy()
  await untilWaiting(rig, 0)
})

test('as many calls as there may be are under way, one more is refused, and health is answered all the same', async () => {
  await using rig = await startQueueApiRig({ config: { admin: { address: { host: '127.0.0.1', port: 0 }, calls: 5 } } })
  const waiting = Array.from({ length: 5 }, () => open(rig, '/queues/inbox/receive'))
  for (const request of waiting) request.end('{"wait":"20s"}')
  await untilWaiting(rig, 5)
  const refused = await rig.admin('GET', '/queues')
  assert.deepEqual([refused.status, refused.document.code], [503, 'too_many_connections'])
  assert.equal((await ask(`http://127.0.0.1:${rig.adminPort}/healthz`)).status, 200)
  for (const request of waiting) request.destroy()
  await until('there is room again', async () => (await rig.admin('GET', '/queues')).status === 200)
})

test('a body that nobody wants ends its connection, wherever it is sent', async () => {
  await using rig = await startQueueApiRig()
  for (const path of ['/api/nothing', '/metrics']) {
    const request = httpRequest(`http://127.0.0.1:${rig.adminPort}${path}`, {
      method: 'POST',
      headers: { 'content-length': '1000000' },
      agent: false,
    })
    const closed = new Promise<void>((resolve) => request.on('close', resolve))
    request.on('error', () => undefined)
    request.on('response', (response) => response.resume())
    request.write('x')
    await closed
  }
})

test('as many queues may be made as api.queuesMax says, one more is refused, a subscription’s own too', async () => {
  const api = { keys: [], receiveMax: 2, receiversMax: 2, queuesMax: 2, leaseMaxMs: 60_000, body: 1 << 20 }
  await using rig = await startQueueApiRig({ config: { api } })
  const put = async (path: string): Promise<unknown> => {
    const { status, document } = await rig.admin('PUT', path, {})
    return status === 409 ? document['code'] : status
  }
  assert.deepEqual([await put('/queues/a'), await put('/queues/b'), await put('/queues/c')], [201, 201, 'too_many_queues'])
  assert.equal(await put('/queues/b'), 200, 'one that is there may change')
  assert.equal(await put('/topics/t'), 201)
  assert.equal(await put('/topics/t/subscriptions/s'), 'too_many_queues')
  assert.equal((await rig.admin('DELETE', '/queues/a')).status, 204)
  assert.equal(await put('/topics/t/subscriptions/s'), 201)
})
