/** Messages on the direct path, byte for byte: how requests reach a server, how answers reach a client. Real sockets on both sides. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, suite, test } from 'node:test'
import { type GatewayRig, startGatewayRig } from '../support/gateway-rig.ts'
import { RawClient, rawAsk } from '../support/raw-client.ts'
import { fieldIn, fieldsIn, OK, type RawServer, startRawServer, type RawConnection } from '../support/raw-server.ts'
import { until } from '../support/until.ts'

let server: RawServer
let gateway: GatewayRig

before(async () => {
  server = await startRawServer()
  gateway = await startGatewayRig([server.port])
})
after(async () => {
  await gateway[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})
beforeEach(() => {
  server.handle = (connection) => void connection.write(OK)
})

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

function answerWith(text: string, close = false): void {
  server.handle = (connection) => {
    connection.write(text)
    if (close) connection.end()
  }
}

async function received(request: string, last: string): Promise<string> {
  const at = server.heads.length
  server.handle = async (connection) => {
    await connection.untilText(last)
    connection.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok').end()
  }
  assert.equal((await rawAsk(gateway.port, request)).status, 200)
  assert.equal(server.heads.length, at + 1)
  return server.connections.at(-1)?.text ?? ''
}

suite('requests', () => {
  test('a body with a length arrives with it', async () => {
    const text = await received('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello', 'hello')
    assert.deepEqual(fieldsIn(text, 'content-length'), ['5'])
    assert.ok(text.endsWith('\r\n\r\nhello'))
  })

  test('chunks arrive chunked, without their extensions', async () => {
    const body = '5;a=b\r\nhello\r\n1;c\r\n!\r\n0;d\r\n\r\n'
    const text = await received(`POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${body}`, '0\r\n\r\n')
    assert.ok(text.endsWith('\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n'), text)
    assert.deepEqual(fieldsIn(text, 'transfer-encoding'), ['chunked'])
    assert.equal(fieldIn(text, 'content-length'), undefined)
  })

  test('trailers arrive, but none that frame, route or identify', async () => {
    const trailers = 'X-Sum: 1\r\nHost: b\r\nContent-Length: 9\r\nAuthorization: x\r\nX-Forwarded-For: 9.9.9.9\r\nSpillway-Job: j\r\n'
    const text = await received(
      `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${trailers}\r\n`,
      '0\r\nX-Sum: 1\r\n\r\n',
    )
    assert.ok(text.endsWith('\r\n\r\n0\r\nX-Sum: 1\r\n\r\n'), text)
  })

  test('without a body: no framing for GET, a length of 0 for POST', async () => {
    const get = await received(GET, '\r\n\r\n')
    assert.equal(fieldIn(get, 'content-length'), undefined)
    assert.equal(fieldIn(get, 'transfer-encoding'), undefined)
    const post = await received('POST / HTTP/1.1\r\nHost: a\r\n\r\n', '\r\n\r\n')
    assert.deepEqual(fieldsIn(post, 'content-length'), ['0'])
  })

  test('target, order and spelling of fields, and odd values stay as they came', async () => {
    const target = '/a//b/%2F%zz/{x}|"<>^`?q=%20&&r=?#'.slice(0, -1)
    const fields = 'b-X: 1\r\nA-x: 2\r\nb-X: 3\r\nCookie: a=1\r\nCookie: b=2\r\nX-Empty:\r\nX-Latin: \xe9\xff\r\nX-Comma: a,  b ,c'
    const text = await received(`GET ${target} HTTP/1.1\r\nHost: Example.COM:8080\r\n${fields}\r\n\r\n`, '\r\n\r\n')
    assert.ok(text.startsWith(`GET ${target} HTTP/1.1\r\nHost: Example.COM:8080\r\n${fields.replace('Empty:', 'Empty: ')}\r\n`), text)
  })

  test('we say our own version and add ourselves to Via', async () => {
    const text = await received('GET / HTTP/1.0\r\nHost: a\r\nVia: 1.1 first, 1.1 second\r\n\r\n', '\r\n\r\n')
    assert.match(text, /^GET \/ HTTP\/1\.1\r\n/)
    assert.deepEqual(fieldsIn(text, 'via'), ['1.1 first, 1.1 second, 1.0 spillway'])
    assert.deepEqual(fieldsIn(await received(GET, '\r\n\r\n'), 'via'), ['1.1 spillway'])
  })

  test('HTTP/1.0 without Host is given one', async () => {
    assert.deepEqual(fieldsIn(await received('GET / HTTP/1.0\r\n\r\n', '\r\n\r\n'), 'host'), ['spillway'])
  })

  test('Expect ends here: the client that waits is told to go on', async () => {
    server.handle = async (connection) => {
      await connection.untilText('\r\n\r\nhello')
      connection.write(OK)
    }
    const client = await RawClient.connect(gateway.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
    await client.untilText('HTTP/1.1 100 Continue\r\n\r\n')
    client.write('hello')
    const statuses = (await client.untilAnswered('POST')).map(({ status }) => status)
    assert.deepEqual(statuses, [100, 200])
    assert.equal(fieldIn(server.heads.at(-1) ?? '', 'expect'), undefined)
    client.write(GET)
    assert.equal((await client.untilAnswered('POST', 'GET')).length, 3)
    client.destroy()
  })

  test('Expect with the body right behind it: no 100', async () => {
    const client = await RawClient.connect(gateway.port)
    client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello')
    assert.deepEqual(
      (await client.untilAnswered('POST')).map(({ status }) => status),
      [200],
    )
    client.destroy()
  })

  test('a final answer before the body: the connection closes, so the body cannot be taken for a request', async () => {
    const client = await RawClient.connect(gateway.port)
    const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'
    const length = `Content-Length: ${smuggled.length}`
    client.write(`POST /../ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n${length}\r\n\r\n`)
    const [answer] = await client.untilAnswered('POST')
    assert.equal(answer?.status, 400)
    assert.equal(answer?.header('connection'), 'close')
    client.write(smuggled)
    await client.untilClosed()
    assert.equal(client.answers('POST').length, 1)
    assert.ok(!server.heads.some((head) => head.includes('/smuggled')))
  })
})

suite('answers', () => {
  test('with a length', async () => {
    answerWith('HTTP/1.1 201 Made\r\nContent-Length: 5\r\nX: y\r\n\r\nhello')
    const answer = await rawAsk(gateway.port, GET)
    assert.equal(answer.status, 201)
    assert.equal(answer.reason, 'Made')
    assert.equal(answer.framing, 'length')
    assert.equal(answer.body.toString(), 'hello')
    assert.equal(answer.header('x'), 'y')
    assert.ok(answer.header('date') !== undefined)
  })

  test('chunked, with trailers; those that could harm are left out', async () => {
    answerWith('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\nSet-Cookie: a=b\r\n\r\n')
    const answer = await rawAsk(gateway.port, GET)
    assert.equal(answer.framing, 'chunked')
    assert.equal(answer.body.toString(), 'abcde')
    assert.deepEqual(answer.trailers, [['X-Sum', '5']])
  })

  test('ended by the server closing: chunked for the client, whose connection stays', async () => {
    answerWith('HTTP/1.1 200 OK\r\n\r\nuntil the end', true)
    const client = await RawClient.connect(gateway.port)
    client.write(GET)
    const [answer] = await client.untilAnswered('GET')
    assert.equal(answer?.framing, 'chunked')
    assert.equal(answer?.body.toString(), 'until the end')
    server.handle = (connection) => void connection.write(OK)
    client.write(GET)
    assert.equal((await client.untilAnswered('GET', 'GET'))[1]?.body.toString(), 'ok')
    client.destroy()
  })

  test('an empty body has a length of 0', async () => {
    answerWith('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    const answer = await rawAsk(gateway.port, GET)
    assert.equal(answer.framing, 'length')
    assert.equal(answer.body.length, 0)
  })

  const bodiless: readonly (readonly [string, string, string | undefined])[] = [
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n', '1234'],
    ['HEAD', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', undefined],
    ['HEAD', 'HTTP/1.1 200 OK\r\n\r\n', undefined],
    ['GET', 'HTTP/1.1 204 No Content\r\n\r\n', undefined],
    ['GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n', undefined],
    ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: "x"\r\n\r\n', '99'],
  ]
  for (const [method, text, length] of bodiless) {
    test(`${method} ${JSON.stringify(text.slice(9, -4))}: no body, and the next answer is not taken for one`, async () => {
      answerWith(text)
      const client = await RawClient.connect(gateway.port)
      const request = `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`
      client.write(request)
      const [answer] = await client.untilAnswered(method)
      assert.equal(answer?.header('content-length'), length)
      assert.equal(answer?.header('transfer-encoding'), undefined)
      server.handle = (connection) => void connection.write(OK)
      client.write(GET)
      assert.equal((await client.untilAnswered(method, 'GET'))[1]?.body.toString(), 'ok')
      client.destroy()
    })
  }

  test('1xx are passed on, before the answer and in order', async () => {
    answerWith(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n${OK}`)
    const client = await RawClient.connect(gateway.port)
    client.write(GET)
    const answers = await client.untilAnswered('GET')
    assert.deepEqual(
      answers.map(({ status, header }) => [status, header('link')]),
      [
        [103, '</a>'],
        [103, '</b>'],
        [200, undefined],
      ],
    )
    client.destroy()
  })

  test('1xx are kept from HTTP/1.0 clients', async () => {
    answerWith(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${OK}`)
    const client = await RawClient.connect(gateway.port)
    client.write('GET / HTTP/1.0\r\n\r\n')
    assert.deepEqual(
      (await client.untilAnswered('GET')).map(({ status }) => status),
      [200],
    )
    client.destroy()
  })

  test('hop-by-hop fields and Spillway-* stay behind; each Set-Cookie stays by itself', async () => {
    const hop =
      'Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nSpillway-Retry: never\r\nTE: x'
    answerWith(`HTTP/1.1 200 OK\r\n${hop}\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2, c\r\nContent-Length: 0\r\n\r\n`)
    const answer = await rawAsk(gateway.port, GET)
    for (const gone of ['connection', 'x-hop', 'keep-alive', 'proxy-connection', 'upgrade', 'spillway-retry', 'te'])
      assert.equal(answer.header(gone), undefined, gone)
    assert.deepEqual(answer.all('set-cookie'), ['a=1', 'b=2, c'])
  })

  test('an answer that ends while its request is still being sent arrives whole, however much the client still sends', async () => {
    const answered = Buffer.alloc(700_000, 'answer ')
    const sent = Buffer.alloc(6 << 20, 'request ')
    const before = server.heads.length
    server.handle = (connection) => {
      // It does not read on, so that the answer is there first.
      connection.socket.pause()
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${answered.length}\r\n\r\n`).write(answered)
    }
    // What it does not take yet lies in the kernel, on our side for the most part.
    const client = await RawClient.connect(gateway.port, { paused: true })
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${64 << 20}\r\n\r\n`, sent, sent)
    await until('the request has come', () => server.heads.length > before)
    // Asked often enough for more than what is thrown away of a request to have come.
    for (let times = 0; times < 20; times++) await gateway.untilIdle()
    client.read()
    const [answer] = await client.untilAnswered('POST')
    assert.ok(answer?.body.equals(answered))
    client.destroy()
  })

  // Where the answer is the first to end, what the client still sends must not cost it the end of the answer.
  test('a body of many megabytes arrives whole, both ways at once', async () => {
    const bytes = Buffer.alloc(8 << 20, 'spillway ')
    server.handle = async (connection) => {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`)
      for (let at = 0; at < bytes.length; at += 1 << 20) {
        if (!connection.socket.write(bytes.subarray(at, at + (1 << 20))))
          await new Promise((resolve) => connection.socket.once('drain', resolve))
      }
    }
    const client = await RawClient.connect(gateway.port)
    client.write(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes.length}\r\n\r\n`, bytes)
    await until('the answer came', () => client.bytes >= bytes.length)
    const [answer] = await client.untilAnswered('POST')
    assert.ok(answer?.body.equals(bytes))
    client.destroy()
    await gateway.untilIdle()
  })
})

suite('connections', () => {
  test('one connection serves many requests, to the client and to the server', async () => {
    await gateway.untilIdle()
    const client = await RawClient.connect(gateway.port)
    const methods: string[] = []
    const before = new Set(server.connections)
    for (let i = 0; i < 5; i++) {
      client.write(GET)
      methods.push('GET')
      await client.untilAnswered(...methods)
    }
    client.destroy()
    assert.ok(server.connections.filter((connection) => !before.has(connection)).length <= 1)
  })

  test('pipelined requests are answered in their order, however long each takes', async () => {
    server.handle = async (connection, head) => {
      const path = head.split(' ')[1] as string
      if (path === '/0') await new Promise((resolve) => setTimeout(resolve, 30))
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`)
    }
    const client = await RawClient.connect(gateway.port)
    const requests = Array.from({ length: 10 }, (_, i) =>
      i % 3 === 1 ? `POST /${i} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc` : `GET /${i} HTTP/1.1\r\nHost: a\r\n\r\n`,
    )
    client.write(requests.join(''))
    const answers = await client.untilAnswered(...requests.map((request) => request.split(' ')[0] as string))
    assert.deepEqual(
      answers.map(({ body }) => body.toString()),
      requests.map((_, i) => `/${i}`),
    )
    client.destroy()
  })

  test('more pipelined bytes than are buffered still come through', async () => {
    const client = await RawClient.connect(gateway.port)
    const count = 200
    const request = `GET /pipe HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(1000)}\r\n\r\n`
    client.write(request.repeat(count))
    const answers = await client.untilAnswered(...Array.from({ length: count }, () => 'GET'))
    assert.equal(answers.length, count)
    client.destroy()
  })

  test('a request cut into single bytes is the same request', async () => {
    server.handle = async (connection) => {
      await connection.untilText('0\r\nX: y\r\n\r\n')
      connection.write(OK)
    }
    const client = await RawClient.connect(gateway.port)
    const request = 'POST /bytes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n'
    for (const byte of request) {
      client.write(byte)
      await new Promise(setImmediate)
    }
    assert.equal((await client.untilAnswered('POST'))[0]?.status, 200)
    client.destroy()
  })

  test('Connection: close is obeyed and said', async () => {
    const client = await RawClient.connect(gateway.port)
    client.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    await client.untilClosed()
    assert.equal(client.answers('GET')[0]?.header('connection'), 'close')
    assert.equal(client.error, '')
  })

  test('HTTP/1.0: closes unless keep-alive is asked for; a body of unknown length ends with the connection', async () => {
    const closing = await RawClient.connect(gateway.port)
    closing.write('GET / HTTP/1.0\r\n\r\n')
    await closing.untilClosed()
    assert.equal(closing.answers('GET')[0]?.body.toString(), 'ok')

    const keeping = await RawClient.connect(gateway.port)
    for (const methods of [['GET'], ['GET', 'GET']]) {
      keeping.write('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
      const answer = (await keeping.untilAnswered(...methods)).at(-1)
      assert.equal(answer?.header('connection'), 'keep-alive')
    }
    answerWith('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n')
    keeping.write('GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
    await keeping.untilClosed()
    const last = keeping.answers('GET', 'GET', 'GET')[2]
    assert.equal(last?.framing, 'close')
    assert.equal(last?.body.toString(), 'abc')
    assert.equal(last?.header('connection'), 'close')
    assert.equal(last?.header('transfer-encoding'), undefined)
  })

  test('a server that closes after each answer, or says so, is asked on a new connection', async () => {
    const asked: RawConnection[] = []
    const answerWith = (text: string): void => {
      server.handle = (connection) => {
        asked.push(connection)
        connection.write(text)
      }
    }
    answerWith('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
    for (let i = 0; i < 3; i++) assert.equal((await rawAsk(gateway.port, GET)).status, 200)
    await until('the gateway closed them', () => asked.every(({ ended, closed }) => ended || closed))
    answerWith('HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok')
    for (let i = 0; i < 3; i++) assert.equal((await rawAsk(gateway.port, GET)).status, 200)
    assert.equal(new Set(asked).size, 6)
  })
})

suite('where a request came from', () => {
  test('a trusted peer is believed, and our part is added', async () => {
    await using trusting = await startGatewayRig([server.port], { config: { trustedPeers: ['127.0.0.0/8'] } })
    const came = [
      ...['X-Forwarded-For: 9.9.9.9, 8.8.8.8', 'X-Forwarded-Proto: https', 'X-Forwarded-Host: front', 'X-Real-IP: 9.9.9.9'],
      ...['Forwarded: for=9.9.9.9;proto=https', 'X_Forwarded_For: 7.7.7.7', 'X-Forwarded-Port: 443'],
    ]
    await rawAsk(trusting.port, `GET / HTTP/1.1\r\nHost: a:80\r\n${came.join('\r\n')}\r\n\r\n`)
    const head = server.heads.at(-1) ?? ''
    assert.deepEqual(fieldsIn(head, 'x-forwarded-for'), ['9.9.9.9, 8.8.8.8, 127.0.0.1'])
    assert.deepEqual(fieldsIn(head, 'x-forwarded-proto'), ['https'])
    assert.deepEqual(fieldsIn(head, 'x-forwarded-host'), ['front'])
    assert.deepEqual(fieldsIn(head, 'x-forwarded-port'), ['443'])
    assert.deepEqual(fieldsIn(head, 'x-real-ip'), ['9.9.9.9'])
    assert.deepEqual(fieldsIn(head, 'forwarded'), ['for=9.9.9.9;proto=https, for=127.0.0.1;host="a:80";proto=http'])
    assert.ok(!head.includes('7.7.7.7'))
  })

  test('a peer outside the trusted blocks is not', async () => {
    await using wary = await startGatewayRig([server.port], { config: { trustedPeers: ['10.0.0.0/8', '::1'] } })
    await rawAsk(wary.port, 'GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\n\r\n')
    const head = server.heads.at(-1) ?? ''
    assert.deepEqual(fieldsIn(head, 'x-forwarded-for'), ['127.0.0.1'])
    assert.deepEqual(fieldsIn(head, 'forwarded'), ['for=127.0.0.1;host=a;proto=http'])
  })
})
