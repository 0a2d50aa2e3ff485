/** What becomes of a webhook whose receiver fails, hangs, redirects, is overloaded, is gone, or breaks off: the outcome table, line by line. */
import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import type { Document } from '../support/queue-api-rig.ts'
import { type Received, startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'
import { SECRET, startReceiver, startWebhookRig, type WebhookRig } from '../support/webhook-rig.ts'

/** The webhook of the only job that has ended, once it stands so. */
async function delivery(rig: WebhookRig, stands: (job: Document) => boolean): Promise<Document> {
  let seen: Document
  await until(
    () => `the webhook stands so: ${JSON.stringify(seen)}`,
    async () => {
      const [job] = await rig.deliveries()
      if (job === undefined) return false
      seen = (await rig.api('GET', `/jobs/${job.id}?include=history,result`)).document
      return stands(seen)
    },
  )
  return seen
}

const isDead = (job: Document): boolean => job.dead !== undefined
const retries = (job: Document): boolean => job.status === 'retrying'
const answer =
  (status: number, headers: Readonly<Record<string, string>> = {}, body = '') =>
  (_: Received, response: ServerResponse): void =>
    void response.writeHead(status, headers).end(body)

/** A receiver below HTTP. */
async function startRawReceiver(onData: (socket: Socket) => void): Promise<AsyncDisposable & { readonly port: number }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('data', () => onData(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('a receiver that fails is asked again, with the same id and a new signature, until it takes it', async () => {
  let calls = 0
  await using rig = await startWebhookRig({ receive: (received, response) => answer(++calls < 3 ? 500 : 204)(received, response) })
  await rig.submit()
  const received = await rig.received(3)
  const done = await delivery(rig, (job) => job.status === 'succeeded')
  assert.deepEqual([done.attempt, done.result.status], [3, 204])
  assert.equal(new Set(received.map(({ headers }) => headers['webhook-id'])).size, 1)
  assert.equal(new Set(received.map(({ body }) => body.toString())).size, 1)
  assert.deepEqual(
    done.history.map(({ outcome, status }: Document) => [outcome, status]),
    [
      ['server_error', 500],
      ['server_error', 500],
      ['succeeded', undefined],
    ],
  )
})

test('after the last pause of the schedule it is a dead letter, with what was answered last', async () => {
  await using rig = await startWebhookRig({ receive: answer(500, {}, 'out of order') })
  await rig.submit()
  const dead = await delivery(rig, isDead)
  assert.deepEqual([dead.dead, dead.attempt, dead.error.code, dead.error.serverStatus], ['attempts', 4, 'server_error', 500])
  assert.equal(rig.receiver.received.length, 4)
  assert.ok(rig.events.some((event) => event.type === 'job-dead' && event.job === dead.id))
  const retried = rig.events.filter((event) => event.type === 'attempt-failed' && event.server === 'main')
  assert.equal(retried.length, 4)
  const metrics = await rig.metrics()
  assert.match(metrics, /spillway_webhook_deliveries_total\{endpoint="main",outcome="server_error"\} 4/)
})

test('other 4xx are tried again, too: the receiver may be mended', async () => {
  await using rig = await startWebhookRig({ receive: answer(404) })
  await rig.submit()
  assert.equal((await delivery(rig, isDead)).attempt, 4)
})

test('a redirect is a failure, and is never followed', async () => {
  await using other = await startReceiver()
  await using rig = await startWebhookRig({ receive: answer(307, { location: `${other.url}/` }) })
  await rig.submit()
  const dead = await delivery(rig, isDead)
  assert.equal(dead.error.serverStatus, 307)
  assert.equal(other.received.length, 0)
})

test('a receiver that does not answer in time is left alone for a minute', async () => {
  await using rig = await startWebhookRig({ main: { timeout: '100ms' }, receive: () => undefined })
  await rig.submit()
  const waiting = await delivery(rig, retries)
  assert.equal(waiting.error.code, 'attempt_timeout')
  assert.ok(Date.parse(waiting.notBefore) - Date.parse(waiting.history[0].endedAt) >= 59_999)
})

test('a receiver that is overloaded is left alone for as long as it asks, within twice of what is due', async () => {
  await using rig = await startWebhookRig({ receive: answer(429, { 'retry-after': '90' }) })
  await rig.submit()
  const waiting = await delivery(rig, retries)
  const pauseMs = Date.parse(waiting.notBefore) - Date.parse(waiting.history[0].endedAt)
  assert.ok(pauseMs >= 89_999 && pauseMs <= 109_000, String(pauseMs))
  assert.equal(waiting.error.serverStatus, 429)
})

test('410 is the last word: no other attempt, and the endpoint is disabled', async () => {
  await using rig = await startWebhookRig({ receive: answer(410) })
  await rig.submit()
  const dead = await delivery(rig, isDead)
  assert.deepEqual([dead.dead, dead.attempt], ['webhook_gone', 1])
  await until('it is told of', () => rig.events.some((event) => event.type === 'webhook-disabled' && event.endpoint === 'main'))
  await rig.submit()
  await until('the next is not sent', async () => (await rig.deliveries()).filter(isDead).length === 2)
  assert.equal(rig.receiver.received.length, 1)
  assert.match(await rig.metrics(), /spillway_webhook_endpoint_disabled\{endpoint="main"\} 1/)
  await rig.restart()
  await rig.submit()
  await until('nor after a restart', async () => (await rig.deliveries()).filter(isDead).length === 3)
  assert.equal(rig.receiver.received.length, 1)
})

test('410 from where an endpoint no longer is does not disable it', async () => {
  const held: ServerResponse[] = []
  await using old = await startReceiver((_, response) => void held.push(response))
  await using rig = await startWebhookRig({ main: null })
  await rig.api('PUT', '/webhooks/made', { url: old.url })
  await rig.submit()
  await until('it is on its way', () => held.length === 1)
  await rig.api('PUT', '/webhooks/made', { url: `http://127.0.0.1:${rig.receiver.port}/` })
  held[0]?.writeHead(410).end()
  await delivery(rig, isDead)
  await rig.api('POST', '/webhooks/made/replay')
  await rig.received(1)
  assert.equal((await rig.api('GET', '/webhooks/made')).document.enabled, true)
})

test('an answer that is broken off is none, also one that began with 200', async () => {
  await using receiver = await startRawReceiver((socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => socket.destroy())
  })
  await using rig = await startWebhookRig({ main: { url: `http://127.0.0.1:${receiver.port}/` } })
  await rig.submit()
  const dead = await delivery(rig, isDead)
  assert.deepEqual([dead.attempt, dead.error.code], [4, 'connection_reset'])
})

test('a receiver that closes, is not there, or does not speak HTTP is a failure by name', async () => {
  await using closing = await startRawReceiver((socket) => void socket.destroy())
  await using strange = await startRawReceiver((socket) => void socket.write('220 mail.example ESMTP\r\n'))
  const gone = await startTestServer()
  await gone.kill()
  const cases: readonly (readonly [number, string])[] = [
    [closing.port, 'connection_reset'],
    [strange.port, 'bad_response'],
    [gone.port, 'connect_failed'],
  ]
  for (const [port, code] of cases) {
    await using rig = await startWebhookRig({ main: { url: `http://127.0.0.1:${port}/` }, webhooks: { retries: ['1ms'] } })
    await rig.submit()
    assert.equal((await delivery(rig, isDead)).error.code, code)
  }
})

test('a receiver that takes the connection and says nothing while TLS is to begin has not connected', async () => {
  await using silent = await startRawReceiver(() => undefined)
  const main = { url: `https://127.0.0.1:${silent.port}/` }
  await using rig = await startWebhookRig({ main, webhooks: { connectTimeout: '100ms' } })
  await rig.submit()
  assert.equal((await delivery(rig, retries)).error.code, 'connect_timeout')
})

test('a webhook that somebody has changed is sent all the same, and stops nobody', async () => {
  await using rig = await startWebhookRig({ receive: answer(500), main: { events: ['job.failed'] } })
  await rig.restart({
    webhooks: {
      allow: ['127.0.0.1'],
      retries: ['1ms'],
      endpoints: { main: { url: `http://127.0.0.1:${rig.receiver.port}/{queue}`, secret: SECRET } },
    },
  })
  await rig.submit()
  const { id } = await delivery(rig, isDead)
  rig.receiver.handle = answer(200)
  await rig.api('POST', `/jobs/${id}/redrive`, { text: 'no JSON' })
  await until('it is taken', async () => (await rig.deliveries())[0]?.status === 'succeeded')
  assert.deepEqual([rig.receiver.received.at(-1)?.url, rig.receiver.received.at(-1)?.body.toString()], ['/-', 'no JSON'])
})

test('of what a receiver answers as much is kept as may be, and what is longer is cut off', async () => {
  for (const [bytes, kept] of [
    [1000, 1000],
    [1001, 1000],
    [10_000_000, 1000],
  ] as const) {
    await using rig = await startWebhookRig({ webhooks: { answer: '1000B' }, receive: answer(200, {}, 'x'.repeat(bytes)) })
    await rig.submit()
    const { result } = await delivery(rig, (job) => job.status === 'succeeded')
    assert.equal(result.text.length, kept)
  }
})

test('with order: key what fails holds back what follows it, and no other key', async () => {
  let failures = 3
  await using rig = await startWebhookRig({
    main: { order: 'key' },
    receive: (received, response) => {
      const { reference } = JSON.parse(received.body.toString()) as Document
      answer(reference === 'a1' && failures-- > 0 ? 500 : 200)(received, response)
    },
  })
  for (const reference of ['a1', 'b1', 'a2', 'b2', 'a3']) {
    await rig.submit('/work', { 'spillway-key': reference.slice(0, 1), 'spillway-reference': reference })
  }
  const received = (await rig.received(8)).map(({ body }) => (JSON.parse(body.toString()) as Document).reference as string)
  assert.deepEqual(
    received.filter((reference) => reference.startsWith('a')),
    ['a1', 'a1', 'a1', 'a1', 'a2', 'a3'],
  )
  assert.deepEqual(
    received.filter((reference) => reference.startsWith('b')),
    ['b1', 'b2'],
  )
})

test('as many webhooks are on their way as may be: to one endpoint, and to all together', async () => {
  const held: ServerResponse[] = []
  await using other = await startReceiver((_, response) => void held.push(response))
  await using rig = await startWebhookRig({
    webhooks: { concurrency: 5, endpointConcurrency: 3, endpoints: { other: { url: `${other.url}/`, secret: SECRET } } },
    receive: (_, response) => void held.push(response),
  })
  for (let i = 0; i < 6; i++) await rig.submit()
  await until('as many as may be are held', () => held.length === 5)
  while (other.received.length + rig.receiver.received.length < 12 || held.length > 0) {
    for (const response of held.splice(0)) response.end()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  assert.ok(rig.receiver.inFlightMax <= 3 && other.inFlightMax <= 3, `${rig.receiver.inFlightMax} ${other.inFlightMax}`)
  assert.ok(rig.receiver.inFlightMax + other.inFlightMax >= 5)
})

test('a gateway that stops lets what is on its way arrive, and hands back the rest without counting it', async () => {
  await using rig = await startWebhookRig({ receive: () => undefined, config: { drainTimeout: '100ms' } })
  await rig.submit()
  await rig.received(1)
  await rig.gateway.drain()
  rig.receiver.handle = answer(200)
  await rig.restart()
  await rig.received(2)
  assert.equal((await delivery(rig, (job) => job.status === 'succeeded')).attempt, 1)
})

test('a webhook that is cancelled while it is on its way is left alone', async () => {
  await using rig = await startWebhookRig({ receive: () => undefined })
  await rig.submit()
  await rig.received(1)
  const { id } = await delivery(rig, (job) => job.status === 'running')
  await rig.api('DELETE', `/jobs/${id}`)
  await until('it is broken off', () => rig.receiver.inFlight === 0)
  assert.equal((await delivery(rig, (job) => job.status === 'cancelled')).attempt, 0)
})

test('what somebody else has put into the queue is no webhook, and is not sent', async () => {
  await using rig = await startWebhookRig()
  const { document } = await rig.api('POST', '/queues/webhooks/jobs', {
    payload: { type: 'job.succeeded' },
    target: '/main',
    tenant: 'main',
  })
  await until('it is dead', async () => (await rig.api('GET', `/jobs/${document.id}`)).document.dead === 'no_such_webhook')
  assert.equal(rig.receiver.received.length, 0)
})

test('one that was kept open and closed by the receiver costs no attempt', async () => {
  await using rig = await startWebhookRig({ main: { order: 'key' } })
  await rig.submit('/work', { 'spillway-key': 'a' })
  await rig.received(1)
  await delivery(rig, (job) => job.status === 'succeeded')
  await rig.receiver.kill()
  await rig.receiver.revive()
  await rig.submit('/work', { 'spillway-key': 'a' })
  await rig.received(2)
  await until('it is taken', async () => (await rig.deliveries()).filter((job) => job.status === 'succeeded').length === 2)
  assert.equal(
    rig.events.some((event) => event.type === 'attempt-failed'),
    false,
  )
})
