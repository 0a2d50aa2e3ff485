/**
 * What a job carries is what was sent: the server gets the request's bytes, the client the answer's, header for header. With the real
 * process in between, bodies on disk, and the limits of both at n and n + 1.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts'
import { type Answer, ask } from '../support/http-client.ts'
import { type Received, startTestServer, type TestServer } from '../support/test-server.ts'

const MIB = 1 << 20
const BODY_MAX = MIB
const RESULT_MAX = 2 * MIB

interface ServerAnswer {
  readonly status: number
  readonly reason?: string
  readonly headers: readonly string[]
  readonly body?: Uint8Array
}

let server: TestServer
let gateway: GatewayProcess
let answer: ServerAnswer

before(async () => {
  server = await startTestServer((_, response) => {
    response.sendDate = false
    response.writeHead(answer.status, answer.reason, [...answer.headers])
    response.end(answer.body)
  })
  gateway = await startGatewayProcess(`
pools: { api: { servers: ["http://127.0.0.1:${server.port}"], health: { path: /healthz, interval: 200ms, rise: 1 } } }
queues: { jobs: { pool: api } }
routes: [{ match: POST /jobs, mode: queue, queue: jobs }]
limits: { jobBody: ${BODY_MAX}B, result: ${RESULT_MAX}B }
`)
})
after(async () => {
  await gateway[Symbol.asyncDispose]()
  await server.kill()
})

const CHUNK_SIZES = [1, 70_000, 3, 16_384, 200_000, 65_536]

/** A body in chunks of very different sizes. */
function askChunked(url: string, body: Buffer): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest(url, { method: 'POST', agent: false }, resolve)
    asked.on('error', reject)
    for (let at = 0, i = 0; at < body.length; i++) {
      const bytes = CHUNK_SIZES[i % CHUNK_SIZES.length] as number
      asked.write(body.subarray(at, at + bytes))
      at += bytes
    }
    asked.end()
  })
}

interface Run {
  readonly received: Received
  readonly result: Answer
  readonly resultUrl: string
}

/** Submits, waits for the end, and reads the result. */
async function run(
  answering: ServerAnswer,
  asked: { body?: Uint8Array; headers?: readonly string[]; chunked?: Buffer } = {},
): Promise<Run> {
  answer = answering
  const { chunked, headers = [], body } = asked
  const url = `${gateway.url}/jobs`
  const withHost = ['Host', 'jobs.example', ...headers, ...(body === undefined ? [] : ['Content-Length', String(body.length)])]
  const accepted =
    chunked === undefined
      ? await ask(url, { method: 'POST', headers: withHost, ...(body === undefined ? {} : { body }) })
      : await askChunked(url, chunked).then((response) => ({ status: response.statusCode, headers: (response.resume(), response.headers) }))
  assert.equal(accepted.status, 202)
  const resultUrl = `${gateway.url}${accepted.headers.location}/result`
  const result = await ask(`${resultUrl}?wait=30s`)
  return { received: server.received.at(-1) as Received, result, resultUrl }
}

/** Pairs in order, without those that belong to the connection and those that the gateway says about the job. */
function endToEnd(rawHeaders: readonly string[]): string[] {
  const ours = ['connection', 'keep-alive', 'transfer-encoding', 'content-length', 'date', 'spillway-status', 'spillway-job']
  return rawHeaders.filter((_, i) => !ours.includes((rawHeaders[i - (i % 2)] as string).toLowerCase()))
}

function assertSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(actual.length, expected.length)
  // A diff of a mebibyte helps nobody.
  assert.ok(Buffer.compare(actual, expected) === 0, 'the bytes differ')
}

const PLAIN: ServerAnswer = { status: 200, headers: ['Content-Type', 'text/plain'], body: Buffer.from('fine') }

describe('the request', () => {
  test('1 MiB of random bytes arrives as sent, with its headers', async () => {
    const body = randomBytes(MIB)
    const headers = ['Content-Type', 'application/octet-stream', 'X-Twice', 'one', 'x-Other', '1', 'X-Twice', 'two', 'Cookie', 'a=b']
    const { received, result } = await run(PLAIN, { body, headers })
    assertSameBytes(received.body, body)
    assert.equal(result.text, 'fine')
    const sent = received.rawHeaders.slice(0, 2 + headers.length)
    assert.deepEqual(sent, ['Host', 'jobs.example', ...headers])
    assert.equal(received.headers['content-length'], String(MIB))
    assert.equal(received.url, '/jobs')
  })

  test('a chunked upload arrives whole, with its length', async () => {
    const body = randomBytes(MIB - 1)
    const { received } = await run(PLAIN, { chunked: body })
    assertSameBytes(received.body, body)
    assert.equal(received.headers['content-length'], String(body.length))
    assert.equal(received.headers['transfer-encoding'], undefined)
  })

  test('an empty one arrives empty', async () => {
    const { received } = await run(PLAIN)
    assert.equal(received.body.length, 0)
  })

  for (const chunked of [false, true]) {
    test(`limits.jobBody: n bytes are taken, n + 1 refused${chunked ? ', chunked' : ''}`, async () => {
      const fits = randomBytes(BODY_MAX)
      const { received } = await run(PLAIN, chunked ? { chunked: fits } : { body: fits })
      assertSameBytes(received.body, fits)
      const count = server.received.length
      const tooLarge = randomBytes(BODY_MAX + 1)
      const refused = chunked
        ? (await askChunked(`${gateway.url}/jobs`, tooLarge)).resume().statusCode
        : (await ask(`${gateway.url}/jobs`, { method: 'POST', body: tooLarge })).status
      assert.equal(refused, 413)
      const page = await gateway.metrics()
      assert.deepEqual([page.unfinished('jobs'), server.received.length], [0, count])
    })
  }
})

describe('the result', () => {
  test('is the answer header for header: names, order and repetitions, less hop-by-hop fields and Set-Cookie', async () => {
    const kept = [
      ...['X-First', '1', 'Link', '</a>; rel=next', 'content-TYPE', 'application/octet-stream', 'Link', '</b>; rel=prev'],
      ...['X-Obs-Text', 'caf\xe9', 'WWW-Authenticate', 'Basic realm="x"', 'www-authenticate', 'Bearer', 'ETag', '"abc"'],
      ...['Cache-Control', 'max-age=60', 'X-Empty', '', 'Last-Modified', 'Mon, 01 Jan 2024 00:00:00 GMT'],
    ]
    const dropped = [
      'Set-Cookie',
      'session=1',
      'Connection',
      'X-Hop, close',
      'X-Hop',
      'gone',
      'Keep-Alive',
      'timeout=9',
      'Set-Cookie',
      'b=2',
    ]
    const body = randomBytes(MIB)
    const { result } = await run({ status: 200, reason: 'Quite Fine', headers: [...dropped, ...kept], body })
    assertSameBytes(result.body, body)
    assert.deepEqual([result.status, result.reason], [200, 'Quite Fine'])
    assert.deepEqual(endToEnd(result.rawHeaders), kept)
    assert.equal(result.headers['content-length'], String(MIB))
    assert.equal(result.headers['spillway-status'], 'succeeded')
  })

  test('JSON stays the bytes that it was, and is not for caches where the server did not speak of them', async () => {
    const body = Buffer.from('{ "b":1,\n  "a": 1.0, "text": "\u00fc\ud83d\ude00" }')
    const headers = ['Content-Type', 'application/json; charset=utf-8']
    const { result } = await run({ status: 201, headers: [...headers, 'Location', '/things/7'], body })
    assertSameBytes(result.body, body)
    assert.equal(result.status, 201)
    assert.deepEqual(endToEnd(result.rawHeaders), [...headers, 'Location', '/things/7', 'Cache-Control', 'no-store'])
  })

  test("a 422 is the job's result as it was", async () => {
    const headers = ['Content-Type', 'application/problem+json', 'Cache-Control', 'no-store']
    const { result } = await run({ status: 422, headers, body: Buffer.from('{"title":"no such colour"}') })
    assert.deepEqual([result.status, result.text], [422, '{"title":"no such colour"}'])
    assert.deepEqual(endToEnd(result.rawHeaders), headers)
    assert.equal(result.headers['spillway-status'], 'failed')
  })

  test('a 204 has neither body nor length', async () => {
    const { result } = await run({ status: 204, headers: ['ETag', '"v2"'] })
    assert.deepEqual([result.status, result.body.length, result.headers['content-length']], [204, 0, undefined])
    assert.deepEqual(endToEnd(result.rawHeaders), ['ETag', '"v2"', 'Cache-Control', 'no-store'])
  })

  test('HEAD has the headers of GET and no body', async () => {
    const { result, resultUrl } = await run({ status: 200, headers: ['Content-Type', 'text/plain', 'X-A', '1'], body: randomBytes(5000) })
    const head = await ask(resultUrl, { method: 'HEAD' })
    assert.deepEqual([head.status, head.body.length, head.headers['content-length']], [200, 0, '5000'])
    assert.deepEqual(endToEnd(head.rawHeaders), endToEnd(result.rawHeaders))
  })

  test('one that is too large for a row comes from its file, and can be read again and again', async () => {
    const body = randomBytes(256 * 1024 + 1)
    const { result, resultUrl } = await run({ status: 200, headers: ['Transfer-Encoding', 'chunked'], body })
    assertSameBytes(result.body, body)
    assertSameBytes((await ask(resultUrl)).body, body)
  })

  test('limits.result: n bytes are kept, n + 1 fail the job and say why', async () => {
    const fits = randomBytes(RESULT_MAX)
    assertSameBytes((await run({ status: 200, headers: [], body: fits })).result.body, fits)
    const tooLarge = randomBytes(RESULT_MAX + 1)
    for (const headers of [[], ['Transfer-Encoding', 'chunked']]) {
      const { result } = await run({ status: 200, headers, body: tooLarge })
      assert.equal(result.status, 502)
      assert.equal(result.json()['code'], 'result_too_large')
      assert.equal(result.headers['spillway-status'], 'failed')
    }
  })
})
