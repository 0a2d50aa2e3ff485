/** Events over WebSockets: real clients (`ws`, and the one that Node and browsers have), limits, slow readers, heartbeats, shutdown. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { WebSocket as WsClient } from 'ws'
import { ask } from '../support/http-client.ts'
import { type JobsRig, type RigOptions, startJobsRig } from '../support/jobs-rig.ts'
import { testConfig } from '../support/test-config.ts'
import { until } from '../support/until.ts'

type Document = Record<string, unknown>

interface Submitted {
  readonly id: string
  readonly token: string
}

async function submit(rig: JobsRig): Promise<Submitted> {
  const { id, links } = (await ask(`${rig.url}/work`, { method: 'POST', body: 'input' })).json() as { id: string; links: { self: string } }
  return { id, token: links.self.slice(links.self.lastIndexOf('/') + 1) }
}

function gate(): { handle: NonNullable<RigOptions['handle']>; waiting: ServerResponse[] } {
  const waiting: ServerResponse[] = []
  return { waiting, handle: (_, response) => void waiting.push(response) }
}

class Client {
  readonly said: Document[] = []
  readonly socket: WsClient
  closed: { readonly code: number; readonly reason: string } | undefined

  constructor(rig: JobsRig, path: string) {
    this.socket = new WsClient(`${rig.url.replace('http', 'ws')}${path}`, { perMessageDeflate: true })
    this.socket.on('message', (data) => this.said.push(JSON.parse((data as Buffer).toString()) as Document))
    this.socket.on('close', (code, reason) => void (this.closed = { code, reason: String(reason) }))
    this.socket.on('error', () => undefined)
  }

  static async open(rig: JobsRig, path: string): Promise<Client> {
    const client = new Client(rig, path)
    await until('it is open', () => client.socket.readyState === WsClient.OPEN)
    return client
  }

  say(message: unknown): void {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message))
  }

  events(id?: string): unknown[] {
    return this.said.filter((each) => id === undefined || each['id'] === id).map((each) => [each['event'], each['status']])
  }
}

const EVENTS = '/_spillway/events'
const limits = testConfig({ pools: [], queues: [], routes: [] }).limits

test('a job at its own address: the same objects as the other streams have, then the end', async () => {
  const { handle, waiting } = gate()
  await using rig = await startJobsRig({ handle })
  const { id, token } = await submit(rig)
  await until('it runs', () => waiting.length === 1)
  const client = await Client.open(rig, `/_spillway/jobs/${token}/events`)
  await until('the snapshot', () => client.said.length === 1)
  const report = String(rig.servers[0]!.received[0]!.headers['spillway-report'])
  await ask(report, { method: 'POST', body: '{"done":50}' })
  await until('the progress', () => client.said.length === 2)
  waiting[0]!.end('made')
  await until('it is closed', () => client.closed !== undefined)
  assert.deepEqual(client.events(), [
    ['status', 'running'],
    ['progress', 'running'],
    ['end', 'succeeded'],
  ])
  assert.deepEqual(client.closed, { code: 1000, reason: 'the job has ended' })
  const ndjson = await ask(`${rig.url}/_spillway/jobs/${token}/events`, { headers: { accept: 'application/x-ndjson' } })
  assert.deepEqual(client.said[2], JSON.parse(ndjson.text))
  assert.equal(client.said[2]!['id'], id)
  await until('nobody watches any more', () => rig.jobs.watchers === 0)
})

test('the WebSocket that browsers and Node have', async () => {
  const { handle, waiting } = gate()
  await using rig = await startJobsRig({ handle })
  const { token } = await submit(rig)
  await until('it runs', () => waiting.length === 1)
  const said: string[] = []
  const socket = new WebSocket(`${rig.url.replace('http', 'ws')}/_spillway/jobs/${token}/events`)
  const closed = new Promise<CloseEvent>((resolve) => socket.addEventListener('close', resolve))
  socket.addEventListener('message', (event) => said.push(String((JSON.parse(String(event.data)) as Document)['status'])))
  await until('the snapshot', () => said.length === 1)
  waiting[0]!.end('made')
  const { code, wasClean } = await closed
  assert.deepEqual([said, code, wasClean], [['running', 'succeeded'], 1000, true])
})

test('one socket watches many jobs, by token, and stops when it is asked to', async () => {
  const { handle, waiting } = gate()
  await using rig = await startJobsRig({ handle, queue: { concurrency: 3 } })
  const jobs = [await submit(rig), await submit(rig), await submit(rig)] as const
  await until('they run', () => waiting.length === 3)
  const client = await Client.open(rig, EVENTS)
  for (const { token } of [...jobs, jobs[0]]) client.say({ watch: token })
  await until('three snapshots', () => client.said.length === 3)
  client.say({ unwatch: jobs[1].token })
  client.say({ unwatch: 'never watched' })
  await until('one less', () => rig.jobs.watchers === 2)
  for (const response of waiting) response.end('made')
  await until('two ends', () => client.said.length === 5)
  const [first, second, third] = jobs
  for (const { id } of [first, third]) assert.deepEqual(client.events(id).at(-1), ['end', 'succeeded'])
  assert.deepEqual(client.events(second.id), [['status', 'running']])
  client.say({ watch: second.token })
  await until('its end', () => client.events(second.id).length === 2)
  assert.equal(client.closed, undefined, 'it stays open for more')
  client.socket.close()
  await until('it is closed', () => client.closed?.code === 1005)
  assert.equal(rig.jobs.watchers, 0)
})

test('a token that is wrong in any way is unknown, and the others go on', async () => {
  await using rig = await startJobsRig(gate())
  const { id, token } = await submit(rig)
  const client = await Client.open(rig, EVENTS)
  const wrong = [`${id}.${'A'.repeat(22)}`, id, '', 'x'.repeat(500), token.toUpperCase()]
  for (const each of wrong) client.say({ watch: each })
  client.say({ watch: token })
  await until('all are answered', () => client.said.length === wrong.length + 1)
  assert.deepEqual(
    client.said.slice(0, -1),
    wrong.map((each) => ({ event: 'unknown', token: each })),
  )
  assert.equal(client.said.at(-1)?.['id'], id)
})

test('nonsense closes the socket and says what to say', async () => {
  await using rig = await startJobsRig(gate())
  for (const [nonsense, code] of [
    ['watch', 1008],
    ['{"watch":1}', 1008],
    ['{}', 1008],
    ['null', 1008],
    [`{"watch":"${'x'.repeat(1100)}"}`, 1009],
  ] as const) {
    const client = await Client.open(rig, EVENTS)
    client.say(nonsense)
    await until('it is closed', () => client.closed !== undefined)
    assert.equal(client.closed?.code, code, nonsense.slice(0, 20))
    if (code === 1008) assert.match(client.closed?.reason ?? '', /"watch"/)
  }
  const binary = await Client.open(rig, EVENTS)
  binary.socket.send(Buffer.from('{"watch":"a"}'))
  await until('it is closed', () => binary.closed?.code === 1008)
})

test('as many jobs on one socket as may be, and as many sockets, and not one more', async () => {
  const { handle } = gate()
  await using rig = await startJobsRig({ handle, config: { limits: { ...limits, watches: 2, eventSockets: 2 } } })
  const jobs = [await submit(rig), await submit(rig), await submit(rig)]
  const first = await Client.open(rig, EVENTS)
  for (const { token } of jobs) first.say({ watch: token })
  await until('all are answered', () => first.said.length === 3)
  assert.deepEqual(first.said[2], { event: 'refused', token: jobs[2]?.token, detail: 'a socket watches at most 2 jobs' })
  first.say({ unwatch: jobs[0]?.token })
  first.say({ watch: jobs[2]?.token })
  await until('it is watched now', () => first.events(jobs[2]?.id).length === 1)

  const second = await Client.open(rig, EVENTS)
  const refused = await new Promise<{ status: number | undefined; retry: string | undefined }>((resolve) => {
    const third = new WsClient(`${rig.url.replace('http', 'ws')}${EVENTS}`)
    third.on('unexpected-response', (_, response) => {
      resolve({ status: response.statusCode, retry: response.headers['retry-after'] })
      response.destroy()
    })
    third.on('error', () => undefined)
  })
  assert.equal(refused.status, 503)
  assert.ok(Number(refused.retry) > 0)
  second.socket.terminate()
  await until('there is room', async () => {
    const next = new Client(rig, EVENTS)
    await until('it is decided', () => next.socket.readyState !== WsClient.CONNECTING)
    return next.socket.readyState === WsClient.OPEN
  })
})

test('what is no handshake is refused before the upgrade, in words', async () => {
  await using rig = await startJobsRig(gate())
  const { token } = await submit(rig)
  const key = randomBytes(16).toString('base64')
  const path = `/_spillway/jobs/${token}/events`
  const good = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': key, 'Sec-WebSocket-Version': '13' }
  for (const [change, detail] of [
    [{ Upgrade: 'chat' }, /only to websocket/],
    [{ 'Sec-WebSocket-Key': 'short' }, /Sec-WebSocket-Key/],
    [{ 'Sec-WebSocket-Version': '8' }, /Sec-WebSocket-Version/],
  ] as const) {
    const answer = await raw(rig.port, path, { ...good, ...change })
    assert.match(answer, /^HTTP\/1\.1 400 /)
    assert.match(answer, detail)
  }
  assert.match(await raw(rig.port, `/_spillway/jobs/${token.slice(0, -1)}/events`, good), /^HTTP\/1\.1 404 /)
  assert.match(await raw(rig.port, path, good), /^HTTP\/1\.1 101 [^]*Spillway-Job: /)
  assert.equal((await ask(`${rig.url}${EVENTS}`)).status, 404, 'without an upgrade there is nothing')
})

/** What is answered first. */
function raw(port: number, path: string, headers: Readonly<Record<string, string>>): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    const lines = Object.entries({ Host: 'a', ...headers }).map(([name, value]) => `${name}: ${value}`)
    socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
    socket.once('data', (data) => {
      resolve(String(data))
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

test('a client that does not answer a ping is let go, one that does stays', async () => {
  const jobs = { path: '/_spillway', waitMaxMs: 1000, heartbeatMs: 200 }
  await using rig = await startJobsRig({ ...gate(), config: { jobs } })
  const { token } = await submit(rig)
  const lively = await Client.open(rig, EVENTS)
  lively.say({ watch: token })
  const key = randomBytes(16).toString('base64')
  const dead = connect(rig.port, '127.0.0.1')
  const ended = new Promise<void>((resolve) => dead.on('close', () => resolve()))
  dead.on('error', () => undefined).resume()
  dead.write(
    `GET ${EVENTS} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
  )
  await ended
  let pings = 0
  lively.socket.on('ping', () => pings++)
  await until('it is pinged again and again', () => pings > 2)
  assert.equal(lively.closed, undefined)
})

test('a client that does not read is sent no more than it can hold, and has the latest when it reads again', async () => {
  const { handle, waiting } = gate()
  await using rig = await startJobsRig({ handle, queue: { timeoutMs: 300_000 } })
  const { token, id } = await submit(rig)
  await until('it runs', () => waiting.length === 1)
  const client = await Client.open(rig, EVENTS)
  client.say({ watch: token })
  await until('the snapshot', () => client.said.length === 1)
  client.socket.pause()
  const report = String(rig.servers[0]!.received[0]!.headers['spillway-report'])
  const rounds = 2000
  for (let n = 1; n <= rounds; n++) {
    const padding = 'p'.repeat(10_000)
    assert.equal((await ask(report, { method: 'POST', body: JSON.stringify({ n, padding }) })).status, 204)
  }
  client.socket.resume()
  const latest = (): unknown => (client.said.at(-1)?.['progress'] as Document | undefined)?.['n']
  await until('it has the latest', () => latest() === rounds)
  assert.ok(client.events(id).length < rounds, `${client.said.length} of ${rounds} snapshots were sent`)
  waiting[0]!.end('made')
  await until('the end', () => client.said.at(-1)?.['event'] === 'end')
})

const HANDSHAKE = `GET ${EVENTS} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n`

/** A client that says the same again and again, as fast as it is read from. */
class Talker {
  readonly socket: Socket
  sentBytes = 0
  readonly #frames: Buffer

  /** `text`: from 126 bytes on. */
  constructor(port: number, text: string) {
    const frame = Buffer.concat([Buffer.from([0x81, 0xfe, text.length >> 8, text.length & 0xff, 0, 0, 0, 0]), Buffer.from(text)])
    this.#frames = Buffer.concat(Array.from({ length: 100 }, () => frame))
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('error', () => undefined).on('drain', () => this.#talk())
    this.socket.write(`${HANDSHAKE}Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`)
    this.socket.once('data', () => this.#talk())
  }

  #talk(): void {
    do this.sentBytes += this.#frames.length
    while (!this.socket.destroyed && this.socket.write(this.#frames))
  }
}

test('a client is read from no faster than its questions are answered', async () => {
  await using rig = await startJobsRig(gate())
  const { token } = await submit(rig)
  const talker = new Talker(rig.port, JSON.stringify({ watch: `${token.slice(0, -1)}_`, padding: 'x'.repeat(900) }))
  const answer = `{"event":"unknown","token":"${token}"}`
  let heardBytes = 0
  talker.socket.on('data', (bytes) => void (heardBytes += bytes.length))
  await until('five hundred answers have come', () => heardBytes > 500 * answer.length)
  talker.socket.destroy()
  // What lies in between is in the system's buffers.
  assert.ok(talker.sentBytes < 24_000_000, `${talker.sentBytes} bytes were taken`)
})

test('a client that talks and never listens is let go', async () => {
  const jobs = { path: '/_spillway', waitMaxMs: 1000, heartbeatMs: 200 }
  await using rig = await startJobsRig({ ...gate(), config: { jobs } })
  const talker = new Talker(rig.port, JSON.stringify({ watch: 'x'.repeat(900) }))
  talker.socket.once('data', () => talker.socket.pause())
  await until('it is let go', () => talker.socket.destroyed)
})

test('at shutdown a client is told to come back later, and the socket is closed', async () => {
  const rig = await startJobsRig(gate())
  const { token } = await submit(rig)
  const client = await Client.open(rig, EVENTS)
  client.say({ watch: token })
  await until('the snapshot', () => client.said.length === 1)
  await rig[Symbol.asyncDispose]()
  await until('it is closed', () => client.closed !== undefined)
  const last = client.said.at(-1)
  assert.equal(last?.['event'], 'reconnect')
  const retryMs = Number(last?.['retryMs'])
  assert.ok(retryMs >= 500 && retryMs <= 5000, String(retryMs))
  assert.deepEqual([client.closed?.code, client.closed?.reason], [1012, 'the gateway stops'])
})
