/** What the gateway signs is what servers verify, with real requests; and a client cannot bring a signature of its own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SignatureError, verifySignature } from 'spillway/server'
import type { SigningKey } from '../../src/config/config.ts'
import { ask } from '../support/http-client.ts'
import { startJobsRig } from '../support/jobs-rig.ts'
import { testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

const SECRETS = ['whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=', 'another secret, as plain text']
const KEYS: readonly SigningKey[] = [
  { id: 'new', secret: Buffer.from(SECRETS[0]?.slice(6) ?? '', 'base64') },
  { id: 'old', secret: Buffer.from(SECRETS[1] ?? '') },
]

test('every attempt of a job is signed with all keys, whatever the client sent', async () => {
  let times = 0
  await using rig = await startJobsRig({
    queue: { backoff: { baseMs: 1, maxMs: 5 } },
    config: { signing: { keys: KEYS } },
    handle: (_, response) => void response.writeHead(++times === 1 ? 500 : 200).end(),
  })
  const headers = [
    'Host',
    'example.com',
    'Content-Length',
    '2',
    'Authorization',
    'Bearer a',
    'Spillway-Signature',
    'v1,AAAA',
    'Spillway_Signature',
    'v1,BBBB',
    'Spillway-Submitted-At',
    '2000-01-01T00:00:00.000Z',
  ]
  const accepted = await ask(`${rig.url}/work?a=%20b`, { method: 'PUT', body: Buffer.from([0, 255]), headers })
  const job = String(accepted.headers['spillway-job'])
  await rig.ended(job)
  assert.equal(rig.servers[0]!.received.length, 2)
  for (const { method, url: target, headers: received, body, rawHeaders } of rig.servers[0]!.received) {
    const names = rawHeaders.filter((name, i) => i % 2 === 0 && /^spillway.signature$/i.test(name))
    assert.deepEqual(names, ['Spillway-Signature'])
    const request = { method, target, headers: received, body }
    for (const secret of SECRETS) {
      const verified = verifySignature(request, secret, { toleranceMs: 60_000 })
      assert.deepEqual([verified.job, verified.submittedAt.getTime()], [job, (await rig.status(job)).submittedAt])
    }
    assert.throws(() => verifySignature({ ...request, body: Buffer.from([0]) }, SECRETS), SignatureError)
    assert.throws(() => verifySignature({ ...request, headers: { ...received, authorization: 'Bearer b' } }, SECRETS), SignatureError)
  }
})

test('without keys nothing is signed, and nothing that a client sent passes for it', async () => {
  await using rig = await startJobsRig({ routes: [testRoute({ name: '/*' })] })
  await ask(`${rig.url}/work`, { method: 'POST', headers: { 'Spillway-Signature': 'v1,AAAA' } })
  await until('it arrives', () => rig.servers[0]!.received.length === 1)
  assert.equal(rig.servers[0]!.received[0]?.headers['spillway-signature'], undefined)
})

for (const status of [401, 403]) {
  test(`a job that is answered ${status} is held with its key, until it is sent again with another credential`, async () => {
    await using rig = await startJobsRig({
      queue: { onUnauthorized: 'hold' },
      routes: [testRoute({ name: '/*', key: { from: 'header', name: 'x-key' } })],
      handle: ({ headers }, response) => void response.writeHead(headers.authorization === 'Bearer good' ? 200 : status).end('answer'),
    })
    const send = async (authorization: string, key: string): Promise<string> => {
      const answer = await ask(`${rig.url}/work`, { method: 'POST', body: 'x', headers: { Authorization: authorization, 'X-Key': key } })
      return String(answer.headers['spillway-job'])
    }
    const held = await send('Bearer bad', 'k')
    const { status: is, dead, blocksKey, error } = await rig.ended(held)
    assert.deepEqual([is, dead, blocksKey, error?.code, error?.status], ['failed', 'unauthorized', true, 'unauthorized', status])
    const next = await send('Bearer good', 'k')
    assert.equal((await rig.ended(await send('Bearer good', 'l'))).status, 'succeeded')
    assert.equal((await rig.status(next)).blockedBy, held)
    const [read] = await rig.jobs.queues.read([held], 'request')
    const request = read?.request ?? assert.fail('its request is kept')
    const headers = request.headers.map((text) => (text === 'Bearer bad' ? 'Bearer good' : text))
    await rig.jobs.queues.command({ kind: 'redrive', id: held, request: { ...request, headers } })
    assert.equal((await rig.ended(held)).status, 'succeeded')
    assert.equal((await rig.ended(next)).status, 'succeeded')
  })
}

test('a held job that is forgotten lets the next of its key go at once', async () => {
  let status = 401
  await using rig = await startJobsRig({
    queue: { onUnauthorized: 'hold' },
    handle: (_, response) => void response.writeHead(status).end(),
  })
  const held = await rig.submit({ key: 'k' })
  await rig.ended(held.id)
  status = 200
  const next = await rig.submit({ key: 'k' })
  await until('it waits', async () => (await rig.status(next.id)).blockedBy === held.id)
  await rig.jobs.queues.command({ kind: 'forget', id: held.id })
  assert.equal((await rig.ended(next.id)).status, 'succeeded')
})

test('a job that is answered 401 has failed with that answer, where nothing else is said', async () => {
  await using rig = await startJobsRig({ handle: (_, response) => void response.writeHead(401).end('who are you') })
  const { status, dead, error } = await rig.ended((await rig.submit({ key: 'k' })).id)
  assert.deepEqual([status, dead, error?.code], ['failed', undefined, 'server_error'])
})
