/**
 * What is malformed or ambiguous is refused with the right status and a closed connection, never reaches a server, and never harms the
 * gateway. Real sockets, the whole gateway, a server that keeps every byte that reaches it.
 */
import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import { type GatewayRig, DIRECT, startGatewayRig } from '../support/gateway-rig.ts'
import { RawClient } from '../support/raw-client.ts'
import { fieldIn, fieldsIn, type RawServer, startRawServer } from '../support/raw-server.ts'
import { testRoute } from '../support/test-config.ts'
import {
  CHUNKS,
  FIELDS,
  FRAMING,
  headOf,
  headWithFields,
  HOSTS,
  LATE,
  LIMITS,
  type MalformedRequest,
  METHOD_BYTES_MAX,
  postTo,
  REFUSED,
  REQUEST_LINES,
  SLOW,
  SMUGGLING,
  targetOf,
  TOO_LARGE,
} from './malformed-requests.ts'

const ALIVE = 'GET /alive HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
const CLOSING_OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'
/** Between the pieces of a row: long enough for a read of its own, short beside the timeouts of the gateway. */
const PIECE_PAUSE_MS = 15
const ROWS = [...REQUEST_LINES, ...REFUSED, ...FIELDS, ...HOSTS, ...FRAMING, ...CHUNKS, ...TOO_LARGE, ...SMUGGLING]

interface Rig {
  readonly gateway: GatewayRig
  readonly server: RawServer
}

async function startRig(): Promise<Rig> {
  const server = await startRawServer(async (connection, head) => {
    const length = fieldIn(head, 'content-length') ?? '0'
    if (fieldIn(head, 'transfer-encoding') !== undefined) await connection.untilText('0\r\n\r\n')
    else if (length !== '0') await connection.untilText(`\r\n\r\n${'b'.repeat(Number(length))}`)
    connection.write(CLOSING_OK).end()
  })
  const hosted = { ...DIRECT, match: { ...DIRECT.match, host: 'a' } }
  const jobs = testRoute({ name: 'POST /jobs', match: { host: 'a', path: '/jobs', methods: ['POST'], headers: [], query: [] } })
  const gateway = await startGatewayRig([server.port], {
    routes: [jobs, hosted],
    limits: LIMITS,
    timeouts: { headMs: 300, bodyMs: 300 },
  })
  return { gateway, server }
}

async function send(client: RawClient, bytes: MalformedRequest['bytes']): Promise<void> {
  for (const [i, piece] of (typeof bytes === 'string' ? [bytes] : bytes).entries()) {
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, PIECE_PAUSE_MS))
    if (client.closed || client.ended) return
    client.write(piece)
  }
}

/** THE assertion of this file: refused as it should be, closed, nothing reached the server, the next client is served. */
async function assertRefused({ gateway, server }: Rig, row: MalformedRequest): Promise<void> {
  const before = server.connections.length
  const client = await RawClient.connect(gateway.port)
  await send(client, row.bytes)
  if (row.understood === true) await client.untilAnswered('GET')
  else await client.untilClosed()
  client.destroy()
  const [answer, ...more] = client.answers('GET')
  assert.ok(answer !== undefined, `no answer (${client.error})`)
  assert.equal(answer.status, row.status, client.text)
  assert.ok(answer.complete)
  assert.equal(more.length, 0)
  assert.equal(answer.header('content-type'), 'application/problem+json')
  assert.match(answer.header('proxy-status') ?? '', /^spillway; error=/)
  assert.equal((JSON.parse(answer.body.toString()) as { status: number }).status, row.status)
  if (row.understood !== true) assert.equal(answer.header('connection'), 'close')

  const alive = await RawClient.connect(gateway.port)
  alive.write(ALIVE)
  assert.equal((await alive.untilAnswered('GET'))[0]?.status, 200)
  alive.destroy()
  const reached = server.connections.slice(before)
  assert.match(reached.at(-1)?.text ?? '', /^GET \/alive /)
  for (const connection of reached.slice(0, -1)) {
    assert.ok(row.begun === true, `reached the server: ${JSON.stringify(connection.text)}`)
    await connection.untilGone()
    assert.equal(connection.requests, 1)
    const [, body = ''] = connection.text.split(/\r\n\r\n(.*)/s)
    if (connection.text.includes('Transfer-Encoding: chunked')) assert.ok(!body.endsWith('0\r\n\r\n'), 'the server saw the end of the body')
    else assert.ok(body.length < Number(fieldIn(connection.text, 'content-length')), 'the server saw the whole body')
  }
  for (const head of server.heads) assert.ok(!head.startsWith('GET /hidden'), 'a hidden request reached the server')
}

function chunked(body: string): string {
  return `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${body}`
}

async function assertReaches({ gateway, server }: Rig, request: string, status = 200): Promise<string> {
  const before = server.heads.length
  const client = await RawClient.connect(gateway.port)
  client.write(request)
  const [answer] = await client.untilAnswered(request.slice(0, request.indexOf(' ')))
  client.destroy()
  assert.equal(answer?.status, status, client.text)
  return server.heads[before] ?? ''
}

suite('malformed and ambiguous requests', () => {
  let rig: Rig
  before(async () => {
    rig = await startRig()
  })
  after(async () => {
    await rig.gateway[Symbol.asyncDispose]()
    await rig.server[Symbol.asyncDispose]()
  })

  test('there are at least 80 of them, each named once', () => {
    assert.ok(ROWS.length + SLOW.length + LATE.length >= 80)
    assert.equal(new Set(ROWS.map(({ name }) => name)).size, ROWS.length)
  })

  test('the rig can fail: a good request, a wrong status, a request that reached the server', async () => {
    const good = 'GET /canary HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
    await assert.rejects(assertRefused(rig, { name: 'canary', bytes: good, status: 400 }), /200/)
    await assert.rejects(assertRefused(rig, { name: 'canary', bytes: 'GET\r\n\r\n', status: 431 }), /431/)
    await assert.rejects(assertRefused(rig, { name: 'canary', bytes: good, status: 200 }))
    const begun = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello'
    await assert.rejects(assertRefused(rig, { name: 'canary', bytes: begun, status: 408 }), /reached the server/)
    assert.ok(rig.server.heads.some((head) => head.startsWith('GET /canary ')))
  })

  for (const row of ROWS) test(`${row.name} → ${row.status}`, () => assertRefused(rig, row))
  for (const row of [...SLOW, ...LATE]) test(`${row.name} → ${row.status}`, () => assertRefused(rig, row))

  test('a connection on which nothing comes is closed without a word', async () => {
    const client = await RawClient.connect(rig.gateway.port)
    await client.untilClosed()
    assert.equal(client.text, '')
  })

  test('whatever is refused whole is refused too when it comes byte by byte', async () => {
    for (const row of [...REQUEST_LINES, ...HOSTS.slice(0, 3), ...FRAMING.slice(0, 3)]) {
      const client = await RawClient.connect(rig.gateway.port)
      for (const byte of row.bytes as string) {
        if (client.ended || client.closed) break
        client.write(byte)
        await new Promise(setImmediate)
      }
      await client.untilClosed()
      const answer = client.answers('GET')[0]
      assert.ok(answer !== undefined, `${row.name}: ${client.error}`)
      assert.equal(answer.status, row.status, `${row.name}: ${client.text}`)
    }
  })
})

suite('exactly at a limit is not beyond it', () => {
  let rig: Rig
  before(async () => {
    rig = await startRig()
  })
  after(async () => {
    await rig.gateway[Symbol.asyncDispose]()
    await rig.server[Symbol.asyncDispose]()
  })

  const atLimit: readonly (readonly [name: string, request: string, status?: number])[] = [
    ['target', targetOf(LIMITS.target)],
    ['head', headOf(LIMITS.head)],
    ['number of headers', headWithFields(LIMITS.headers)],
    ['body', postTo('/', LIMITS.body)],
    ['body, chunked', postTo('/', LIMITS.body, true)],
    ['body that becomes a job', postTo('/jobs', LIMITS.jobBody), 202],
    ['body that becomes a job, chunked', postTo('/jobs', LIMITS.jobBody, true), 202],
    ['method', `${'M'.repeat(METHOD_BYTES_MAX)} / HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['chunk size of 12 digits, chunk extensions of 1024 bytes', chunked(`000000000005;${'e'.repeat(1024)}\r\nhello\r\n0\r\n\r\n`)],
    ['one empty line before the request', '\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['chunked in capitals, blanks around values', 'POST / HTTP/1.1\r\nHost:\ta \r\nTRANSFER-ENCODING: \t CHUNKED \t\r\n\r\n0\r\n\r\n'],
  ]
  for (const [name, request, status] of atLimit) test(name, async () => void (await assertReaches(rig, request, status)))
})

suite('what a client may not say to a server', () => {
  let rig: Rig
  before(async () => {
    rig = await startRig()
  })
  after(async () => {
    await rig.gateway[Symbol.asyncDispose]()
    await rig.server[Symbol.asyncDispose]()
  })

  const SPOOFED = [
    ...['Spillway-Job: j', 'Spillway-Fence: 999', 'SPILLWAY-Attempt: 1', 'Spillway_Fence: 9', 'spillway_report: http://evil/'],
    ...['X-Forwarded-For: 9.9.9.9', 'X_Forwarded_For: 9.9.9.9', 'X-Forwarded-Host: evil', 'X-Forwarded-Proto: https', 'X-Real-IP: 9.9.9.9'],
    ...['Forwarded: for=9.9.9.9', 'x_forwarded-for: 9.9.9.9', 'X-Forwarded-Port: 99'],
  ]

  test('its address and our own fields', async () => {
    const head = await assertReaches(rig, `GET / HTTP/1.1\r\nHost: a\r\n${SPOOFED.join('\r\n')}\r\n\r\n`)
    assert.ok(!/9\.9\.9\.9|evil|999|spillway[-_](job|fence|attempt|report)/i.test(head), head)
    assert.deepEqual(fieldsIn(head, 'x-forwarded-for'), ['127.0.0.1'])
    assert.deepEqual(fieldsIn(head, 'x-forwarded-host'), ['a'])
    assert.deepEqual(fieldsIn(head, 'x-forwarded-proto'), ['http'])
    assert.deepEqual(fieldsIn(head, 'forwarded'), ['for=127.0.0.1;host=a;proto=http'])
  })

  test('what Connection names ends here; what we add and what identifies a client cannot be named away', async () => {
    const named = 'Connection: close, X-Secret, x-forwarded-for, Via, Authorization, Host, Cookie, forwarded\r\nConnection: X-Other'
    const rest =
      'X-Secret: 1\r\nX-Other: 2\r\nAuthorization: Basic eA==\r\nCookie: c=1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: trailers'
    const head = await assertReaches(rig, `GET / HTTP/1.1\r\nHost: a\r\n${named}\r\n${rest}\r\n\r\n`)
    for (const gone of ['connection', 'x-secret', 'x-other', 'keep-alive', 'proxy-connection', 'te'])
      assert.equal(fieldIn(head, gone), undefined, gone)
    assert.equal(fieldIn(head, 'authorization'), 'Basic eA==')
    assert.equal(fieldIn(head, 'cookie'), 'c=1')
    assert.equal(fieldIn(head, 'host'), 'a')
    assert.equal(fieldIn(head, 'x-forwarded-for'), '127.0.0.1')
    assert.match(fieldIn(head, 'via') ?? '', /1\.1 spillway$/)
    assert.ok(fieldIn(head, 'forwarded') !== undefined)
  })

  test('an http URL outranks Host and reaches the server as a path', async () => {
    const head = await assertReaches(rig, 'GET http://a:80/x?y=1 HTTP/1.1\r\nHost: other\r\n\r\n')
    assert.match(head, /^GET \/x\?y=1 HTTP\/1\.1\r\nHost: a:80\r\n/)
  })

  test('cleartext HTTP/2: the upgrade is not offered to a server, where it would pass all rules by', async () => {
    const upgrade = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA'
    const head = await assertReaches(rig, `GET / HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n\r\n`)
    assert.equal(fieldIn(head, 'upgrade'), undefined)
    assert.equal(fieldIn(head, 'http2-settings'), undefined)
  })
})
