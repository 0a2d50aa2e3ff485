/** What the direct path does when a server, a client or a limit gets in the way. Real sockets; servers and clients are played byte by byte. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DIRECT, type GatewayRig, type GatewayRigOptions, startGatewayRig } from '../support/gateway-rig.ts'
import type { RawAnswer } from '../support/raw-answers.ts'
import { RawClient, rawAsk } from '../support/raw-client.ts'
import { fieldIn, OK, type RawConnection, type RawHandler, type RawServer, startRawServer } from '../support/raw-server.ts'
import { testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const POST = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello'
const UPGRADE = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n'
const SWITCHING = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s\r\n\r\n'
const ok: RawHandler = (connection) => void connection.write(OK)

interface Rig extends AsyncDisposable {
  readonly gateway: GatewayRig
  readonly servers: readonly RawServer[]
  readonly server: RawServer
}

async function startRig(handlers: RawHandler | readonly RawHandler[], options: GatewayRigOptions = {}): Promise<Rig> {
  const list = typeof handlers === 'function' ? [handlers] : handlers
  const servers = await Promise.all(list.map((handle) => startRawServer(handle)))
  const gateway = await startGatewayRig(
    servers.map(({ port }) => port),
    options,
  )
  return {
    gateway,
    servers,
    server: servers[0] as RawServer,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]()
      for (const server of servers) await server[Symbol.asyncDispose]()
    },
  }
}

function assertProblem(answer: RawAnswer, status: number, proxyError: string): void {
  assert.equal(answer.status, status, answer.body.toString())
  assert.equal(answer.header('content-type'), 'application/problem+json')
  assert.match(answer.header('proxy-status') ?? '', new RegExp(`^spillway; error=${proxyError};`))
  if (status === 503) assert.match(answer.header('retry-after') ?? '', /^[1-9]\d*$/)
}

suite('a client that leaves', () => {
  for (const [how, leave] of [
    ['ends', (client: RawClient) => client.destroy()],
    ['resets', (client: RawClient) => client.reset()],
  ] as const) {
    test(`${how} the connection in the middle of its body: the server sees a broken request, the slot is free`, async () => {
      await using rig = await startRig(() => undefined)
      const client = await RawClient.connect(rig.gateway.port)
      client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhel')
      await until('the server has a part', () => rig.server.connections[0]?.text.endsWith('hel') === true)
      await rig.gateway.untilInFlight(1)
      leave(client)
      await rig.gateway.untilIdle()
      await rig.server.connections[0]?.untilGone()
    })

    test(`${how} the connection in the middle of the answer: the server is hung up on, the slot is free`, async () => {
      await using rig = await startRig((connection) => void connection.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart'))
      const client = await RawClient.connect(rig.gateway.port)
      client.write(GET)
      await client.untilText('part')
      leave(client)
      await rig.gateway.untilIdle()
      await rig.server.connections[0]?.untilGone()
    })
  }

  test('while it waits for a slot: it leaves the line', async () => {
    await using rig = await startRig(() => undefined, { pool: { maxInFlight: 1, waitMs: 60_000 } })
    const first = await RawClient.connect(rig.gateway.port)
    first.write(GET)
    await rig.gateway.untilInFlight(1)
    const second = await RawClient.connect(rig.gateway.port)
    second.write(GET)
    await rig.gateway.untilWaiting(1)
    second.destroy()
    await rig.gateway.untilWaiting(0)
    first.destroy()
    await rig.gateway.untilIdle()
    assert.equal(rig.server.heads.length, 1)
  })
})

suite('a server that fails in the middle of its answer', () => {
  const PART = 'part of it'
  const heads = {
    'with a length': `HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n${PART}`,
    chunked: `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n${PART}\r\n`,
    'within a chunk': `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n${PART}`,
    'until close': `HTTP/1.1 200 OK\r\n\r\n${PART}`,
  }
  for (const [kind, head] of Object.entries(heads)) {
    for (const version of ['1.1', '1.0']) {
      test(`${kind}, to an HTTP/${version} client: it cannot take it for complete`, async () => {
        await using rig = await startRig((connection) => void connection.write(head))
        const client = await RawClient.connect(rig.gateway.port)
        client.write(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`)
        await client.untilText(PART)
        rig.server.connections[0]?.reset()
        await until('the client noticed', () => client.closed || client.ended)
        const [answer] = client.answers('GET')
        assert.ok(answer?.complete === false || client.error === 'ECONNRESET', `took it for complete: ${client.text}`)
        client.destroy()
        await rig.gateway.untilIdle()
      })
    }
  }

  test('with an orderly end before its time: neither', async () => {
    await using rig = await startRig((connection) => connection.write(heads.chunked).end())
    const client = await RawClient.connect(rig.gateway.port)
    client.write(GET)
    await client.untilClosed()
    assert.equal(client.answers('GET')[0]?.complete, false)
  })

  test('with broken chunks: neither', async () => {
    await using rig = await startRig((connection) => void connection.write(`${heads.chunked}zz\r\n`))
    const client = await RawClient.connect(rig.gateway.port)
    client.write(GET)
    await client.untilClosed()
    // Head and chunk came at once: whether the head still went out does not matter, only that nobody takes it for complete.
    assert.notEqual(client.answers('GET')[0]?.complete, true)
    await rig.gateway.untilIdle()
  })
})

suite('an answer that is not valid HTTP', () => {
  const bad: Readonly<Record<string, string>> = {
    'not HTTP': 'SSH-2.0-OpenSSH_9.6\r\n\r\n',
    'another version': 'HTTP/2 200 OK\r\n\r\n',
    'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n',
    'a status below 100': 'HTTP/1.1 099 OK\r\n\r\n',
    'two lengths that contradict': 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
    'a length with a plus': 'HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na',
    'a list of lengths': 'HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\na',
    'a coding nobody asked for': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'a folded field': 'HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n',
    'NUL in a value': 'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n',
    'a bare LF in a value': 'HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n',
    'a field without a name': 'HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n',
    'a head that is too long': `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`,
    'too many fields': `HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(101)}\r\n`,
    'protocols switched unasked': SWITCHING,
  }
  test('is a 502 with its reason, for whoever asked; the gateway goes on', async () => {
    await using rig = await startRig(ok)
    for (const [name, text] of Object.entries(bad)) {
      rig.server.handle = (connection) => void connection.write(text)
      const answer = await rawAsk(rig.gateway.port, POST)
      assertProblem(answer, 502, 'http_protocol_error')
      assert.ok(!answer.fields.some(([field]) => field === 'Set-Cookie'), name)
      await until('it is hung up on', () => rig.server.connections.at(-1)?.ended === true || rig.server.connections.at(-1)?.closed === true)
    }
    rig.server.handle = ok
    assert.equal((await rawAsk(rig.gateway.port, GET)).status, 200)
    await rig.gateway.untilIdle()
  })

  test('bytes behind an answer are nobody’s answer', async () => {
    await using rig = await startRig((connection) => void connection.write(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`))
    for (let i = 0; i < 3; i++) assert.equal((await rawAsk(rig.gateway.port, GET)).body.toString(), 'ok')
    assert.ok(rig.server.connections.every(({ requests }) => requests === 1))
  })
})

suite('a server that is not there, or too slow', () => {
  test('connection refused: another one is asked, whatever the method', async () => {
    await using rig = await startRig([ok, ok], {
      pool: { health: { intervalMs: 60_000, timeoutMs: 500, fall: 3, rise: 1 }, balance: 'round-robin' },
    })
    await rig.server.refuse()
    for (let i = 0; i < 4; i++) assert.equal((await rawAsk(rig.gateway.port, POST)).status, 200)
    assert.equal(rig.servers[1]?.heads.length, 4)
    const states = (await rig.gateway.pool()).servers.map(({ state }) => state)
    assert.deepEqual(states, ['down', 'up'])
  })

  test('no server is up: 503 when the wait is over', async () => {
    await using rig = await startRig(ok, { pool: { waitMs: 50 } })
    await rig.server.refuse()
    await until('it is seen', async () => (await rig.gateway.pool()).servers[0]?.state === 'down')
    assertProblem(await rawAsk(rig.gateway.port, POST), 503, 'destination_unavailable')
  })

  test('a server that comes back within the wait serves those who waited', async () => {
    await using rig = await startRig(ok, { pool: { waitMs: 20_000 } })
    await rig.server.refuse()
    await until('it is seen', async () => (await rig.gateway.pool()).servers[0]?.state === 'down')
    const asked = rawAsk(rig.gateway.port, POST)
    await rig.gateway.untilWaiting(1)
    await rig.server.listenAgain()
    assert.equal((await asked).status, 200)
  })

  test('no first byte in time: 504; a GET was asked of another server, a POST of none', async () => {
    await using rig = await startRig([() => undefined, () => undefined], { timeouts: { firstByteMs: 100 } })
    const asked = (): number => (rig.servers[0]?.heads.length ?? 0) + (rig.servers[1]?.heads.length ?? 0)
    assertProblem(await rawAsk(rig.gateway.port, POST), 504, 'http_response_timeout')
    assert.equal(asked(), 1)
    assertProblem(await rawAsk(rig.gateway.port, GET), 504, 'http_response_timeout')
    assert.equal(asked(), 3)
    await rig.gateway.untilIdle()
  })

  test('the whole call takes too long: 504; in the middle of the answer: broken off', async () => {
    await using rig = await startRig(() => undefined, { timeouts: { callMs: 150 } })
    assertProblem(await rawAsk(rig.gateway.port, POST), 504, 'http_response_timeout')
    rig.server.handle = (connection) => void connection.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart')
    const client = await RawClient.connect(rig.gateway.port)
    client.write(GET)
    await client.untilClosed()
    assert.equal(client.answers('GET')[0]?.complete, false)
    await rig.gateway.untilIdle()
  })

  test('closed before an answer: a GET is asked of another server, a POST is a 502', async () => {
    const close: RawHandler = (connection) => connection.end()
    await using rig = await startRig([close, ok], { pool: { balance: 'round-robin' } })
    for (let i = 0; i < 4; i++) assert.equal((await rawAsk(rig.gateway.port, GET)).status, 200)
    assert.ok((rig.server.heads.length ?? 0) > 0)
    const answers = [await rawAsk(rig.gateway.port, POST), await rawAsk(rig.gateway.port, POST)]
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 502])
    for (const answer of answers) if (answer.status === 502) assertProblem(answer, 502, 'connection_terminated')
  })

  test('the body that waits for another server arrives there whole, also when more of it comes meanwhile', async () => {
    const body = 'abcdefgh'.repeat(2048)
    let broken: RawConnection | undefined
    await using rig = await startRig([(connection) => void (broken = connection)], {
      pool: { waitMs: 20_000 },
      limits: { spillCopy: 4096 },
    })
    const client = await RawClient.connect(rig.gateway.port)
    client.write(`PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`, body.slice(0, 4000))
    await until('the server has the beginning', () => broken?.text.endsWith(body.slice(0, 4000)) === true)
    await rig.server.refuse()
    await until('it is seen', async () => (await rig.gateway.pool()).servers[0]?.state === 'down')
    client.write(body.slice(4000))
    rig.server.handle = async (connection) => {
      await connection.untilText(body)
      connection.write(OK)
    }
    await rig.server.listenAgain()
    const [answer] = await client.untilAnswered('PUT')
    // The only server was tried already: saying so is fine, a request with a hole is not.
    assert.ok(answer?.status === 200 || answer?.status === 502, client.text)
    for (const { text } of rig.server.connections.slice(1)) assert.equal(text.split('\r\n\r\n')[1], body)
    client.destroy()
  })

  test('503 without a body on a spill route: the request becomes a job, the client gets an answer', async () => {
    const spill = testRoute({ name: '/*', mode: 'spill', waitMs: 20_000, redeliver: 'always' })
    let busy = true
    await using rig = await startRig(
      (connection) => {
        connection.write(busy ? 'HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n' : OK)
        busy = false
      },
      { routes: [spill] },
    )
    const answer = await rawAsk(rig.gateway.port, POST)
    assert.equal(answer.status, 200)
    assert.ok(answer.header('spillway-job') !== undefined)
  })
})

suite('a kept connection that the server closes at the moment it is used again', () => {
  /** Answers once, then hangs up as soon as a second request comes. */
  const once: RawHandler = (connection) => {
    if (connection.requests === 1) connection.write('HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok')
    else connection.reset()
  }

  test('GET is sent again, on a new connection', async () => {
    await using rig = await startRig(once)
    for (let i = 0; i < 6; i++) assert.equal((await rawAsk(rig.gateway.port, GET)).status, 200)
    assert.ok(rig.server.connections.some(({ requests }) => requests === 2))
  })

  test('however many were kept: a GET spends one of them at most, and none of its tries', async () => {
    const asked: RawConnection[] = []
    await using rig = await startRig((connection) => {
      if (connection.requests === 2) return connection.reset()
      asked.push(connection)
      if (asked.length > 5) connection.write(OK)
      else if (asked.length === 5) for (const each of asked) each.write(OK)
    })
    await Promise.all(Array.from({ length: 5 }, () => rawAsk(rig.gateway.port, GET)))
    assert.equal((await rawAsk(rig.gateway.port, GET)).status, 200)
    assert.equal(rig.server.connections.length, 6)
  })

  test('POST is not, where the server has said that it would leave it open: it may have been done', async () => {
    await using rig = await startRig(once)
    assert.equal((await rawAsk(rig.gateway.port, GET)).status, 200)
    assertProblem(await rawAsk(rig.gateway.port, POST), 502, 'connection_terminated')
    assert.equal(rig.server.heads.filter((head) => head.startsWith('POST')).length, 1)
  })

  test('a connection closed while idle is not used again', async () => {
    await using rig = await startRig(ok)
    assert.equal((await rawAsk(rig.gateway.port, GET)).status, 200)
    rig.server.connections[0]?.end()
    await rig.server.connections[0]?.untilGone()
    assert.equal((await rawAsk(rig.gateway.port, POST)).status, 200)
    assert.equal(rig.server.connections.length, 2)
  })
})

suite('both directions at once', () => {
  test('an answer that comes while the body still streams passes; the connection closes behind it', async () => {
    await using rig = await startRig((connection) => void connection.write('HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nstop'))
    const client = await RawClient.connect(rig.gateway.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n', Buffer.alloc(1000))
    const [answer] = await client.untilAnswered('POST')
    assert.equal(answer?.status, 413)
    assert.equal(answer?.body.toString(), 'stop')
    client.write('GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n')
    await client.untilClosed()
    await rig.gateway.untilIdle()
    assert.ok(!rig.server.heads.some((head) => head.includes('hidden')))
  })

  test('a client that does not read stops the server; nothing piles up between them', async () => {
    const total = 64 << 20
    let sent = 0
    const piece = Buffer.alloc(64 * 1024)
    await using rig = await startRig((connection) => {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${total}\r\n\r\n`)
      const more = (): void => {
        while (sent < total) {
          sent += piece.length
          if (!connection.socket.write(piece)) return void connection.socket.once('drain', more)
        }
      }
      more()
    })
    const client = await RawClient.connect(rig.gateway.port, { paused: true })
    client.write(GET)
    await rig.gateway.untilInFlight(1)
    let last = -1
    await until('the server is stopped', async () => {
      const before = last
      last = sent
      await new Promise((resolve) => setTimeout(resolve, 100))
      return before > 0 && sent === before
    })
    assert.ok(sent < total / 2, `${sent} bytes went out to a client that reads nothing`)
    client.read()
    await until('all of it came', () => client.bytes > total)
    client.destroy()
    await rig.gateway.untilIdle()
  })

  test('a server that does not read stops the client', async () => {
    await using rig = await startRig((connection) => void connection.socket.pause())
    const client = await RawClient.connect(rig.gateway.port)
    const total = 64 << 20
    client.socket.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${total}\r\n\r\n`)
    const piece = Buffer.alloc(64 * 1024)
    let sent = 0
    const more = (): void => {
      while (sent < total) {
        sent += piece.length
        if (!client.socket.write(piece)) return void client.socket.once('drain', more)
      }
    }
    more()
    let last = -1
    await until('the client is stopped', async () => {
      const before = last
      last = sent
      await new Promise((resolve) => setTimeout(resolve, 100))
      return before > 0 && sent === before
    })
    assert.ok(sent < total / 2, `${sent} bytes were taken for a server that reads nothing`)
    // Nobody reads from the client meanwhile, so its leaving is not seen: it is the server that must go.
    rig.server.connections[0]?.reset()
    await client.untilClosed()
    await rig.gateway.untilIdle()
  })
})

suite('slots and the line for them', () => {
  /** Answers nobody until told to. */
  function holding(): { handle: RawHandler; held: RawConnection[] } {
    const held: RawConnection[] = []
    return { held, handle: (connection) => void held.push(connection) }
  }

  test('maxInFlight: so many at once, the next waits and gets the slot that is free first, at whichever server', async () => {
    const [a, b] = [holding(), holding()]
    await using rig = await startRig([a.handle, b.handle], { pool: { maxInFlight: 1, waitMs: 20_000 } })
    const asked = [rawAsk(rig.gateway.port, GET), rawAsk(rig.gateway.port, GET)]
    await until('both are busy', () => a.held.length === 1 && b.held.length === 1)
    const third = rawAsk(rig.gateway.port, GET)
    await rig.gateway.untilWaiting(1)
    assert.equal(
      rig.servers.reduce((sum, { heads }) => sum + heads.length, 0),
      2,
    )
    b.held[0]?.write(OK)
    await until('the third is at the server that was free first', () => b.held.length === 2)
    assert.equal(a.held.length, 1)
    b.held[1]?.write(OK)
    a.held[0]?.write(OK)
    for (const answer of [...(await Promise.all(asked)), await third]) assert.equal(answer.status, 200)
    await rig.gateway.untilIdle()
  })

  test('whoever waits too long gets 503 and when to come back', async () => {
    const { held, handle } = holding()
    await using rig = await startRig(handle, { pool: { maxInFlight: 1, waitMs: 100 } })
    const first = rawAsk(rig.gateway.port, GET)
    await rig.gateway.untilInFlight(1)
    assertProblem(await rawAsk(rig.gateway.port, GET), 503, 'connection_limit_reached')
    held[0]?.write(OK)
    assert.equal((await first).status, 200)
  })

  test('maxWaiting: so many wait, the next is refused at once', async () => {
    const { held, handle } = holding()
    await using rig = await startRig(handle, { pool: { maxInFlight: 1, maxWaiting: 2, waitMs: 20_000 } })
    const asked = [rawAsk(rig.gateway.port, GET)]
    await rig.gateway.untilInFlight(1)
    asked.push(rawAsk(rig.gateway.port, GET), rawAsk(rig.gateway.port, GET))
    await rig.gateway.untilWaiting(2)
    assertProblem(await rawAsk(rig.gateway.port, GET), 503, 'connection_limit_reached')
    for (let i = 0; i < 3; i++) {
      await until('the next is there', () => held.length === i + 1)
      held[i]?.write(OK)
    }
    for (const answer of await Promise.all(asked)) assert.equal(answer.status, 200)
    assert.ok(rig.gateway.events.some((event) => event.type === 'limit-reached' && event.limit === 'maxWaiting'))
  })

  test('connections: so many are served, the next is told 503 and closed', async () => {
    await using rig = await startRig(ok, { limits: { connections: 2 } })
    const clients = [await RawClient.connect(rig.gateway.port), await RawClient.connect(rig.gateway.port)]
    for (const client of clients) assert.equal((await client.write(GET).untilAnswered('GET'))[0]?.status, 200)
    const third = await RawClient.connect(rig.gateway.port)
    third.write(GET)
    await third.untilClosed()
    assert.equal(third.error, '')
    assert.equal(third.answers('GET')[0]?.status, 503)
    assert.equal(third.answers('GET')[0]?.header('retry-after'), '1')
    clients[0]?.destroy()
    await until('there is room again', async () => (await rawAsk(rig.gateway.port, GET)).status === 200)
    clients[1]?.destroy()
    assert.ok(!rig.server.heads.some((head) => fieldIn(head, 'host') === undefined))
  })
})

suite('tunnels', () => {
  const switching: RawHandler = (connection) => void connection.write(SWITCHING)

  test('bytes both ways, also those right behind the heads, and each half closes by itself', async () => {
    await using rig = await startRig((connection) => void connection.write(`${SWITCHING}first words`))
    const client = await RawClient.connect(rig.gateway.port)
    client.write(`${UPGRADE}early`)
    await client.untilText('first words')
    const server = rig.server.connections[0] as RawConnection
    await server.untilText('early')
    const head = rig.server.heads[0] ?? ''
    assert.equal(fieldIn(head, 'upgrade'), 'websocket')
    assert.equal(fieldIn(head, 'connection'), 'Upgrade')
    assert.equal(fieldIn(head, 'sec-websocket-key'), 'k')
    const [answer] = client.answers('GET')
    assert.equal(answer?.status, 101)
    assert.equal(answer?.header('sec-websocket-accept'), 's')
    assert.equal(answer?.header('upgrade'), 'websocket')
    client.write('\0\xff binary')
    await server.untilText('early\0\xff binary')
    client.end()
    await until('the half close arrives', () => server.ended)
    const rest = 'r'.repeat(4 << 20)
    server.write(rest).end()
    await until('all that the server had to say arrives', () => client.ended || client.closed)
    assert.ok(client.text.endsWith(`first words${rest}`))
    client.destroy()
    await rig.gateway.untilIdle()
  })

  test('a side that breaks takes the other with it', async () => {
    await using rig = await startRig(switching)
    const client = await RawClient.connect(rig.gateway.port)
    await client.write(UPGRADE).untilText('101')
    client.reset()
    await rig.server.connections[0]?.untilGone()
    await rig.gateway.untilIdle()
    const second = await RawClient.connect(rig.gateway.port)
    await second.write(UPGRADE).untilText('101')
    rig.server.connections[1]?.reset()
    await second.untilClosed()
    await rig.gateway.untilIdle()
  })

  test('a server that says no gives an ordinary answer; nothing behind it is taken for a request', async () => {
    await using rig = await startRig((connection) => void connection.write('HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno'))
    const client = await RawClient.connect(rig.gateway.port)
    client.write(`${UPGRADE}GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n`)
    await client.untilClosed()
    assert.equal(client.answers('GET')[0]?.status, 403)
    assert.equal(client.answers('GET')[0]?.body.toString(), 'no')
    assert.ok(!rig.server.heads.some((head) => head.includes('hidden')))
    await rig.gateway.untilIdle()
  })

  test('maxTunnels: so many, the next is told 503; requests have slots of their own', async () => {
    const handle: RawHandler = (connection, head) => void connection.write(head.startsWith('GET /ws') ? SWITCHING : OK)
    await using rig = await startRig(handle, { pool: { maxTunnels: 2, maxInFlight: 1 } })
    const clients = [await RawClient.connect(rig.gateway.port), await RawClient.connect(rig.gateway.port)]
    for (const client of clients) await client.write(UPGRADE).untilText('101')
    assertProblem(await rawAsk(rig.gateway.port, UPGRADE), 503, 'connection_limit_reached')
    assert.equal((await rawAsk(rig.gateway.port, GET)).status, 200)
    clients[0]?.reset()
    await until('there is room again', async () => (await rig.gateway.pool()).servers[0]?.tunnels === 1)
    const third = await RawClient.connect(rig.gateway.port)
    await third.write(UPGRADE).untilText('101')
    third.reset()
    clients[1]?.reset()
    await rig.gateway.untilIdle()
  })

  test('a server that cannot be reached: 502', async () => {
    await using rig = await startRig(ok, { routes: [DIRECT], pool: { health: { intervalMs: 60_000, timeoutMs: 500, fall: 3, rise: 1 } } })
    await rig.server.refuse()
    assertProblem(await rawAsk(rig.gateway.port, UPGRADE), 502, 'connection_refused')
    await rig.gateway.untilIdle()
  })
})
