/** Peers that are slow, silent or talk too much: who keeps moving is waited for, who does not gives back what it holds. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { type GatewayRig, type GatewayRigOptions, startGatewayRig } from '../support/gateway-rig.ts'
import { RawClient, rawAsk } from '../support/raw-client.ts'
import { OK, type RawHandler, type RawServer, startRawServer } from '../support/raw-server.ts'
import { until } from '../support/until.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const CHUNKED_HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
const CALM = { health: { intervalMs: 60_000, timeoutMs: 1000, fall: 3, rise: 1 } }

interface Rig extends AsyncDisposable {
  readonly gateway: GatewayRig
  readonly server: RawServer
}

async function startRig(handle: RawHandler, timeouts: GatewayRigOptions['timeouts'] = {}): Promise<Rig> {
  const server = await startRawServer(handle)
  const gateway = await startGatewayRig([server.port], { pool: CALM, timeouts })
  return {
    gateway,
    server,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    },
  }
}

suite('a client that does not read', () => {
  test('while it sends and is answered: the stall ends it, and its slot is free', async () => {
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
    await using rig = await startRig(
      (connection) => {
        connection.write(CHUNKED_HEAD)
        connection.socket.on('data', () => {
          if (connection.socket.write(chunk)) return
          connection.socket.pause()
          connection.socket.once('drain', () => connection.socket.resume())
        })
      },
      { stallMs: 300 },
    )
    const client = await RawClient.connect(rig.gateway.port, { paused: true })
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n')
    const piece = Buffer.alloc(65_536)
    const more = (): void => {
      while (client.socket.write(piece));
      client.socket.once('drain', more)
    }
    more()
    await rig.gateway.untilInFlight(1)
    await rig.gateway.untilIdle()
    client.destroy()
  })

  for (const [what, close, timeouts] of [
    ['that stays open, for longer than one may idle', '', { idleMs: 300 }],
    ['that closes, for longer than a closed one lingers', 'Connection: close\r\n', {}],
  ] as const) {
    test(`for a while, on a connection ${what}: it still gets the whole result of a job`, async () => {
      const body = Buffer.alloc(12 << 20, 'r')
      const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`
      await using server = await startRawServer((connection) => void connection.write(head).write(body))
      await using gateway = await startGatewayProcess(`
pools: { api: ["http://127.0.0.1:${server.port}"] }
routes: [{ match: POST /work, mode: queue, wait: 30s }]
timeouts: { idle: ${(timeouts as { idleMs?: number }).idleMs ?? 75_000}ms }
`)
      const client = await RawClient.connect(gateway.port, { paused: true })
      client.write(`POST /work HTTP/1.1\r\nHost: a\r\n${close}Content-Length: 0\r\n\r\n`)
      await until('it is sent', async () => (await gateway.metrics()).sum('spillway_jobs', 'status="succeeded"') === 1)
      await sleep(2600)
      client.read()
      const [answer] = await client.untilAnswered('POST')
      assert.equal(answer?.complete, true)
      assert.deepEqual(answer?.body, body)
      client.destroy()
    })
  }
})

suite('an upload', () => {
  test('may pause for longer than a server has for its first byte', async () => {
    const whole: RawHandler = async (connection) => {
      await connection.untilText('hello world')
      connection.write(OK)
    }
    await using rig = await startRig(whole, { firstByteMs: 200, stallMs: 200 })
    const client = await RawClient.connect(rig.gateway.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello')
    await sleep(600)
    client.write(' world')
    assert.equal((await client.untilAnswered('POST'))[0]?.status, 200)
    client.destroy()
  })

  test('that moves is no stalled answer, though its answer has begun', async () => {
    await using rig = await startRig(
      async (connection) => {
        connection.write(CHUNKED_HEAD)
        await connection.untilText('!')
        connection.write('2\r\nok\r\n0\r\n\r\n')
      },
      { stallMs: 300 },
    )
    const client = await RawClient.connect(rig.gateway.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n')
    for (let i = 0; i < 10; i++) {
      await sleep(100)
      client.write(i === 9 ? '!' : '.')
    }
    const [answer] = await client.untilAnswered('POST')
    assert.deepEqual([answer?.complete, answer?.body.toString()], [true, 'ok'])
    client.destroy()
  })

  test('that is answered before its end is told that the connection closes', async () => {
    await using rig = await startRig((connection) => void connection.write('HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\n\r\n'))
    const client = await RawClient.connect(rig.gateway.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\npart')
    await client.untilClosed()
    const [answer] = client.answers('POST')
    assert.deepEqual([answer?.status, answer?.header('connection')], [413, 'close'])
  })
})

suite('informational answers', () => {
  const hints = (count: number): string => 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(count)

  test('pass, as many as 32', async () => {
    await using rig = await startRig((connection) => void connection.write(hints(32) + OK))
    const client = await RawClient.connect(rig.gateway.port)
    const answers = await client.write(GET).untilAnswered('GET')
    assert.deepEqual([answers.length, answers.at(-1)?.status], [33, 200])
    client.destroy()
  })

  test('without an end are a bad answer', async () => {
    await using rig = await startRig((connection) => void connection.write(hints(33) + OK))
    assert.equal((await rawAsk(rig.gateway.port, GET)).status, 502)
    await rig.gateway.untilIdle()
  })
})

suite('a connection between requests', () => {
  test('takes no line end for the beginning of a request', async () => {
    await using rig = await startRig((connection) => void connection.write(OK), { headMs: 200 })
    const client = await RawClient.connect(rig.gateway.port)
    await client.write(GET).untilAnswered('GET')
    client.write('\r\n')
    await sleep(500)
    const answers = await client.write(GET).untilAnswered('GET', 'GET')
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200],
    )
    client.destroy()
  })
})

test('a gateway says in Proxy-Status what it is called, whatever failed', async () => {
  await using server = await startRawServer(() => undefined)
  await using gateway = await startGatewayRig([server.port], { pool: CALM, config: { name: 'edge-1' } })
  const answers = [
    await rawAsk(gateway.port, 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'),
    await rawAsk(gateway.port, 'GET /../x HTTP/1.1\r\nHost: a\r\n\r\n'),
  ]
  for (const answer of answers) assert.match(answer.header('proxy-status') ?? '', /^edge-1; error=http_request_error/)
})

test('a call whose body is wrong or late is counted once, with the status that it got', async () => {
  await using server = await startRawServer(() => undefined)
  await using gateway = await startGatewayProcess(`
pools: { api: ["http://127.0.0.1:${server.port}"] }
routes: [{ match: "/*" }]
timeouts: { body: 200ms }
`)
  const post = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
  assert.equal((await rawAsk(gateway.port, `${post}zz\r\n`)).status, 400)
  assert.equal((await rawAsk(gateway.port, `${post}5\r\nhel`)).status, 408)
  const page = await gateway.metrics()
  assert.equal(page.sum('spillway_requests_total'), 2)
  assert.equal(page.sum('spillway_requests_total', 'code="400"') + page.sum('spillway_requests_total', 'code="408"'), 2)
})
