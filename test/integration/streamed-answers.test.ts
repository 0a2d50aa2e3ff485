/** Answers that are handed on while they come, and stored meanwhile: what the client that is held gets, what others read, and what a break makes of it. */
import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { test } from 'node:test'
import { EventSource } from 'eventsource'
import { type Answer, ask, blocks, open } from '../support/http-client.ts'
import { type JobsRig, type RigOptions, startJobsRig } from '../support/jobs-rig.ts'
import { testConfig, testRoute } from '../support/test-config.ts'
import { until } from '../support/until.ts'

/** A server that answers each request when and with what the test says. */
class Puppet {
  readonly responses: ServerResponse[] = []
  readonly handle = (_: unknown, response: ServerResponse): void => void this.responses.push(response)

  async next(count = 1): Promise<ServerResponse> {
    await until(`request ${count} has come`, () => this.responses.length >= count)
    return this.responses[count - 1] as ServerResponse
  }
}

const ROUTE = testRoute({ name: '/*', waitMs: 10_000, stream: { onPartial: 'fail' } })

async function withRig(options: RigOptions, work: (rig: JobsRig, server: Puppet) => Promise<void>): Promise<void> {
  const server = new Puppet()
  await using rig = await startJobsRig({ routes: [ROUTE], handle: server.handle, ...options })
  await work(rig, server)
}

function post(rig: JobsRig, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  return open(`${rig.url}/work`, { method: 'POST', body: 'input', headers })
}

/** Its head is sent with the first bytes. */
function begin(response: ServerResponse, text: string): void {
  response.writeHead(200, { 'Content-Type': 'text/plain', 'Set-Cookie': 'a=1', 'Spillway-Secret': 'x' })
  response.write(text)
}

async function chunk(response: IncomingMessage): Promise<string> {
  const bytes = response.read() as Buffer | null
  if (bytes !== null) return bytes.toString()
  await new Promise<void>((resolve) => response.once('readable', () => resolve()))
  return chunk(response)
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const part of response) text += String(part)
  return text
}

function resultOf(answer: IncomingMessage): string {
  return /<(.+)>; rel="monitor"/.exec(String(answer.headers['link']))?.[1] ?? ''
}

/** What it reads is broken off before its end. */
async function brokenOff(response: IncomingMessage): Promise<boolean> {
  return textOf(response).then(
    () => false,
    () => true,
  )
}

test('the client that is held gets the bytes as they come, and the end when all is durable', async () => {
  await withRig({}, async (rig, server) => {
    const posting = post(rig)
    const response = await server.next()
    begin(response, 'one ')
    const answer = await posting
    assert.equal(answer.statusCode, 200)
    assert.deepEqual(
      ['content-type', 'set-cookie', 'spillway-status', 'spillway-offset', 'spillway-secret'].map((name) => answer.headers[name]),
      ['text/plain', ['a=1'], 'running', '1-0', undefined],
    )
    assert.equal(await chunk(answer), 'one ')
    response.write('two ')
    assert.equal(await chunk(answer), 'two ')
    response.end('three')
    assert.equal(await textOf(answer), 'three')
    const id = String(answer.headers['spillway-job'])
    assert.equal((await rig.status(id)).status, 'succeeded', 'its end is not told before it is one')
    const result = await ask(`${rig.url}${resultOf(answer)}`)
    assert.deepEqual([result.status, result.text, result.headers['set-cookie']], [200, 'one two three', undefined])
    assert.equal(result.headers['content-length'], '13')
  })
})

test('several readers get all of it, whenever they come, and none holds up another', async () => {
  await withRig({}, async (rig, server) => {
    const posting = post(rig)
    const response = await server.next()
    begin(response, 'first ')
    const answer = await posting
    // It never reads.
    const idle = await open(`${rig.url}${resultOf(answer)}`)
    const early = await open(`${rig.url}${resultOf(answer)}`)
    const large = 'x'.repeat(300_000)
    for (let i = 0; i < 40; i++) response.write(large)
    assert.equal(await chunk(early), 'first ')
    const late = await open(`${rig.url}${resultOf(answer)}`)
    response.end('last')
    const expected = `first ${large.repeat(40)}last`
    const texts = await Promise.all([textOf(answer), textOf(late)])
    assert.ok(texts.every((text) => text === expected))
    assert.equal(`first ${await textOf(early)}`, expected)
    assert.equal(await textOf(idle), expected, 'also who comes to read only after its end')
  })
})

test('the job goes on without the client, and who was cut off goes on where it was', async () => {
  await withRig({}, async (rig, server) => {
    const posting = post(rig)
    const response = await server.next()
    begin(response, 'one ')
    const answer = await posting
    await chunk(answer)
    answer.destroy()
    response.write('two ')
    const url = `${rig.url}${resultOf(answer)}`
    const part = await ask(`${url}?offset=1-4&wait=10s`)
    assert.deepEqual([part.status, part.text], [200, 'two '])
    assert.deepEqual([part.headers['spillway-offset'], part.headers['spillway-complete']], ['1-8', 'false'])
    const waiting = ask(`${url}?offset=1-8&wait=10s`)
    response.end('three')
    const rest = [await waiting]
    while (rest.at(-1)?.headers['spillway-complete'] !== 'true') {
      rest.push(await ask(`${url}?offset=${String(rest.at(-1)?.headers['spillway-offset'])}&wait=10s`))
    }
    assert.equal(rest.map(({ text }) => text).join(''), 'three')
    assert.equal(rest.at(-1)?.headers['spillway-offset'], '1-13')
  })
})

test('whoever comes for events just when the answer begins, and goes, leaves nothing open', async () => {
  await withRig({}, async (rig, server) => {
    for (let round = 1; round <= 3; round++) {
      const accepted = await post(rig, { Prefer: 'respond-async' })
      const response = await server.next(round)
      const readers: Promise<IncomingMessage>[] = []
      for (let n = 0; n < 60; n++) {
        readers.push(open(`${rig.url}${String(accepted.headers['location'])}/result`, { headers: { Accept: 'text/event-stream' } }))
        if (n === 20) begin(response, 'one ')
        await new Promise((resolve) => setImmediate(resolve))
      }
      await until('it has begun', () => rig.jobs.answers.readers > 0)
      for (const reader of await Promise.all(readers)) reader.destroy()
      await until('nobody reads any more', () => rig.jobs.answers.readers === 0)
      assert.equal(rig.jobs.answers.size, 1, 'while it is under way')
      response.end()
      await until('it has ended', () => rig.jobs.answers.size === 0)
    }
  })
})

test('a break fails the job: nobody takes the part for the whole, and the part is no result', async () => {
  await withRig({}, async (rig, server) => {
    const posting = post(rig)
    const response = await server.next()
    begin(response, 'one ')
    const answer = await posting
    const url = `${rig.url}${resultOf(answer)}`
    const reader = await open(url)
    const events = await open(url, { headers: { Accept: 'application/x-ndjson' } })
    assert.deepEqual([await chunk(answer), await chunk(reader)], ['one ', 'one '])
    response.destroy()
    assert.deepEqual(await Promise.all([brokenOff(answer), brokenOff(reader)]), [true, true])
    const told = (await textOf(events))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    assert.deepEqual(
      told.map((each) => [each['event'], each['offset']]),
      [
        ['answer', '1-0'],
        ['data', '1-4'],
        ['reset', '0'],
        ['end', '0'],
      ],
    )
    const job = await rig.ended(String(answer.headers['spillway-job']))
    assert.deepEqual([job.status, job.dead, job.error?.code, job.attempt], ['failed', 'answer_broken', 'answer_broken', 1])
    const after = await ask(url)
    assert.deepEqual([after.status, after.json()['code']], [502, 'answer_broken'])
    const resumed = await ask(`${url}?offset=1-4`)
    assert.deepEqual([resumed.status, resumed.json()['code']], [409, 'answer_reset'])
  })
})

test('with restart another attempt answers from the beginning, and readers are told', async () => {
  const route = testRoute({ name: '/*', waitMs: 10_000, stream: { onPartial: 'restart' } })
  await withRig({ routes: [route] }, async (rig, server) => {
    const posting = post(rig)
    const first = await server.next()
    begin(first, 'one ')
    const answer = await posting
    const url = `${rig.url}${resultOf(answer)}`
    const events = await open(url, { headers: { Accept: 'text/event-stream' } })
    const watching = await open(url.replace('/result', '/events'), { headers: { Accept: 'application/x-ndjson' } })
    const reading = blocks(events, '\n\n')
    assert.match(
      String((await reading.next()).value),
      /^event: answer\nid: 1-0\ndata: \{"event":"answer","offset":"1-0","attempt":1,"status":200/,
    )
    assert.equal((await reading.next()).value, 'event: data\nid: 1-4\ndata: {"event":"data","offset":"1-4","text":"one "}')
    first.destroy()
    assert.ok(await brokenOff(answer))
    assert.equal((await reading.next()).value, 'event: reset\nid: 0\ndata: {"event":"reset","offset":"0","answer":1}')
    begin(await server.next(2), 'anew')
    server.responses[1]?.end()
    assert.match(String((await reading.next()).value), /^event: answer\nid: 2-0\ndata: .*"attempt":2/)
    assert.equal((await reading.next()).value, 'event: data\nid: 2-4\ndata: {"event":"data","offset":"2-4","text":"anew"}')
    const end = String((await reading.next()).value)
    assert.match(end, /^event: end\nid: end-\d+\ndata: \{.*"status":"succeeded"/)
    assert.equal((await reading.next()).done, true)
    assert.equal((await ask(url)).text, 'anew')
    const stale = await ask(`${url}?offset=1-4`)
    assert.deepEqual([stale.status, stale.json()['code']], [409, 'answer_reset'])
    const resumed = await ask(url, { headers: { Accept: 'text/event-stream', 'Last-Event-ID': '1-4' } })
    assert.match(resumed.text, /^event: reset\nid: 0\n.*\n\nevent: answer\nid: 2-0\n/s)
    const seen = await ask(url, { headers: { Accept: 'text/event-stream', 'Last-Event-ID': /id: (end-\d+)/.exec(end)?.[1] ?? '' } })
    assert.equal(seen.status, 204, 'an EventSource that has seen the end does not come back')
    const names = (await textOf(watching))
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as Record<string, unknown>)['event'])
    assert.ok(names.includes('reset'), names.join())
    assert.equal(names.at(-1), 'end')
  })
})

test('who comes back to the events of a job with what he has seen is told too that the answer broke off', async () => {
  const route = testRoute({ name: '/*', waitMs: 10_000, stream: { onPartial: 'restart' } })
  await withRig({ routes: [route] }, async (rig, server) => {
    const posting = post(rig)
    const first = await server.next()
    begin(first, 'one ')
    const answer = await posting
    answer.on('error', () => undefined)
    const { version } = await rig.status(String(answer.headers['spillway-job']))
    const url = `${rig.url}${resultOf(answer)}`.replace('/result', '/events')
    const events = await open(url, { headers: { Accept: 'application/x-ndjson', 'Last-Event-ID': String(version) } })
    first.destroy()
    begin(await server.next(2), 'anew')
    server.responses[1]?.end()
    const names = (await textOf(events))
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as Record<string, unknown>)['event'])
    assert.ok(names.includes('reset'), names.join())
  })
})

test('an answer that leads to another attempt is not handed on, and an ordinary one is kept as ever', async () => {
  await withRig({ queue: { attempts: 3 } }, async (rig, server) => {
    const posting = post(rig)
    ;(await server.next()).writeHead(500).end('broken')
    ;(await server.next(2)).writeHead(200, { 'Spillway-Retry': '10ms' }).end('not yet')
    ;(await server.next(3)).writeHead(404).end('there is none')
    const answer = await posting
    assert.deepEqual([answer.statusCode, await textOf(answer)], [404, 'there is none'])
    assert.equal(answer.headers['spillway-offset'], undefined)
    const { stream } = await rig.status(String(answer.headers['spillway-job']))
    assert.deepEqual(stream, { onPartial: 'fail', answers: 0, answering: false })
  })
})

test('what has no body, and what leads elsewhere, is an ordinary result', async () => {
  await withRig({}, async (rig, server) => {
    const posts = [post(rig), post(rig)]
    ;(await server.next()).writeHead(204).end()
    ;(await server.next(2)).writeHead(303, { Location: '/there' }).end('over there')
    const answers = await Promise.all(posts)
    assert.deepEqual(answers.map(({ statusCode }) => statusCode).sort(), [204, 303])
    for (const answer of answers) {
      assert.equal(answer.headers['spillway-status'], 'succeeded')
      assert.equal((await rig.status(String(answer.headers['spillway-job']))).stream?.answers, 0)
    }
    assert.deepEqual((await Promise.all(answers.map(textOf))).sort(), ['', 'over there'])
  })
})

test('an ordinary result is read by offset and as events like one that was handed on', async () => {
  const route = testRoute({ name: '/*', waitMs: 0, stream: { onPartial: 'restart' } })
  await withRig({ routes: [route] }, async (rig, server) => {
    const accepted = await post(rig)
    const url = `${rig.url}${String(accepted.headers['location'])}/result`
    begin(await server.next(), 'void')
    await until('it can be read', async () => (await ask(`${url}?offset=0`)).text === 'void')
    server.responses[0]?.destroy()
    ;(await server.next(2)).writeHead(202, { 'Spillway-Defer': '30s' }).end()
    await until('it is deferred', async () => (await rig.status(String(accepted.headers['spillway-job']))).deferredUntil !== undefined)
    const report = String(rig.servers[0]?.received[1]?.headers['spillway-report'])
    assert.equal((await ask(`${report}/complete`, { method: 'POST', body: 'made later' })).status, 204)
    const told = (await ask(url, { headers: { Accept: 'application/x-ndjson' } })).text.trim().split('\n')
    const events = told.map((line) => JSON.parse(line) as Record<string, unknown>)
    assert.deepEqual(
      events.map(({ event, offset, text }) => [event, offset, text]),
      [
        ['answer', '2-0', undefined],
        ['data', '2-10', 'made later'],
        ['end', '2-10', undefined],
      ],
    )
    const resumed = await ask(url, { headers: { Accept: 'text/event-stream', 'Last-Event-ID': '2-5' } })
    assert.match(resumed.text, /^event: data\nid: 2-10\ndata: .*"text":"later"/)
    const rest = await ask(`${url}?offset=2-5`)
    assert.deepEqual([rest.text, rest.headers['spillway-offset'], rest.headers['spillway-complete']], ['later', '2-10', 'true'])
    const all = await ask(`${url}?offset=0`)
    assert.deepEqual([all.text, all.headers['spillway-complete']], ['made later', 'true'])
    assert.deepEqual([(await ask(`${url}?offset=1-4`)).status, (await ask(`${url}?offset=2-11`)).status], [409, 416])
    await until('all of the budget is free again', () => rig.budget.used === 0)
  })
})

test('the wait is for the first byte, not for the whole', async () => {
  const route = testRoute({ name: '/*', waitMs: 200, stream: { onPartial: 'fail' } })
  await withRig({ routes: [route] }, async (rig, server) => {
    const late = await post(rig)
    assert.equal(late.statusCode, 202)
    const posting = post(rig)
    const response = await server.next(2)
    begin(response, 'one ')
    const answer = await posting
    assert.equal(await chunk(answer), 'one ')
    await new Promise((resolve) => setTimeout(resolve, 300))
    response.end('two')
    assert.equal(await textOf(answer), 'two')
  })
})

test('respond-async is answered at once, and the result is followed later', async () => {
  await withRig({}, async (rig, server) => {
    const accepted: Answer = await ask(`${rig.url}/work`, { method: 'POST', body: 'x', headers: { Prefer: 'respond-async' } })
    assert.equal(accepted.status, 202)
    const url = `${rig.url}${String(accepted.headers['location'])}/result`
    const following = open(url, { headers: { Prefer: 'wait=10' } })
    begin(await server.next(), 'one ')
    const result = await following
    assert.equal(result.statusCode, 200)
    server.responses[0]?.end('two')
    assert.equal(await textOf(result), 'one two')
    const head = await ask(url, { method: 'HEAD' })
    assert.deepEqual([head.headers['content-length'], head.body.length], ['7', 0])
  })
})

test('a stored answer is read in parts', async () => {
  await withRig({}, async (rig, server) => {
    const posting = post(rig)
    const bytes = Buffer.alloc(200_000, '0123456789')
    ;(await server.next()).end(bytes)
    const answer = await posting
    await textOf(answer)
    const url = `${rig.url}${resultOf(answer)}`
    const range = await ask(url, { headers: { Range: 'bytes=65530-131080' } })
    assert.deepEqual([range.status, range.headers['content-range']], [206, 'bytes 65530-131080/200000'])
    assert.ok(range.body.equals(bytes.subarray(65_530, 131_081)))
    assert.equal((await ask(url, { headers: { Range: 'bytes=200000-' } })).status, 416)
    const rest = await ask(`${url}?offset=1-199990`)
    assert.deepEqual([rest.text, rest.headers['spillway-complete']], ['0123456789', 'true'])
    for (const [offset, status] of [
      ['1-200001', 416],
      ['7', 400],
      ['2-0', 409],
      ['1-x', 400],
    ] as const) {
      assert.equal((await ask(`${url}?offset=${offset}`)).status, status, offset)
    }
  })
})

test('a part that broke off cannot be filled up with a range of another attempt', async () => {
  const route = testRoute({ name: '/*', waitMs: 10_000, stream: { onPartial: 'restart' } })
  await withRig({ routes: [route] }, async (rig, server) => {
    const validators = { ETag: '"same"', 'Last-Modified': 'Sun, 01 Nov 2026 00:00:00 GMT', 'Accept-Ranges': 'bytes' }
    const posting = post(rig)
    const first = await server.next()
    first.writeHead(200, validators).write('AAAA')
    const held = await posting
    const url = `${rig.url}${resultOf(held)}`
    const part = await open(url)
    assert.equal(await chunk(part), 'AAAA')
    const told = Object.keys(validators).map((name) => part.headers[name.toLowerCase()])
    assert.deepEqual(told, [undefined, undefined, undefined], 'what is under way has nothing by which to fill it up')
    first.destroy()
    assert.deepEqual(await Promise.all([brokenOff(held), brokenOff(part)]), [true, true])
    ;(await server.next(2)).writeHead(200, validators).end('BBBBBBBB')
    await rig.ended(String(held.headers['spillway-job']))
    const blind = await ask(url, { headers: { Range: 'bytes=4-' } })
    assert.deepEqual([blind.status, blind.text], [200, 'BBBBBBBB'])
    const known = await ask(url, { headers: { Range: 'bytes=4-', 'If-Range': String(blind.headers['etag']) } })
    assert.deepEqual([known.status, known.text], [206, 'BBBB'], 'who has seen the whole knows of which it is a part')
  })
})

test('at the limit an answer is kept, one byte more fails it', async () => {
  const limits = { ...testConfig({ pools: [], queues: [], routes: [] }).limits, streamedResult: 1000 }
  await withRig({ config: { limits } }, async (rig, server) => {
    const posting = post(rig)
    const first = await server.next()
    first.write('x'.repeat(999))
    first.end('y')
    assert.equal((await textOf(await posting)).length, 1000)
    const second = post(rig)
    const response = await server.next(2)
    response.write('x'.repeat(1000))
    const answer = await second
    response.end('y')
    assert.ok(await brokenOff(answer))
    const job = await rig.ended(String(answer.headers['spillway-job']))
    assert.deepEqual([job.status, job.error?.code], ['failed', 'result_too_large'])
    const third = post(rig)
    ;(await server.next(3)).writeHead(200, { 'Content-Length': 1001 }).write('x')
    assert.equal((await third).statusCode, 502, 'one that is announced to be larger is not begun')
  })
})

test('a server may be silent for as long as the timeout of its queue, and no longer', async () => {
  await withRig({ queue: { timeoutMs: 400 } }, async (rig, server) => {
    const posting = post(rig)
    const response = await server.next()
    begin(response, '1')
    const answer = await posting
    for (let i = 0; i < 4; i++) {
      await new Promise((resolve) => setTimeout(resolve, 150))
      response.write('1')
    }
    assert.ok(await brokenOff(answer))
    const job = await rig.ended(String(answer.headers['spillway-job']))
    assert.match(job.error?.detail ?? '', /attempt_timeout/)
  })
})

test('a cancelled job breaks off its answer for all who read', async () => {
  await withRig({}, async (rig, server) => {
    const posting = post(rig)
    begin(await server.next(), 'one ')
    const answer = await posting
    await chunk(answer)
    const url = `${rig.url}${resultOf(answer)}`
    const cancelled = await ask(url.replace('/result', ''), { method: 'DELETE' })
    assert.equal(cancelled.json()['status'], 'cancelled')
    assert.ok(await brokenOff(answer))
    assert.equal((await ask(url)).status, 410)
    assert.equal(rig.budget.used, 0)
  })
})

test('the client that is held may speak HTTP/1.0: what breaks off is no end for it either', async () => {
  await withRig({}, async (rig, server) => {
    const speak = (): Promise<{ readonly text: string; readonly failed: boolean }> =>
      new Promise((resolve) => {
        const socket = connect(rig.port, '127.0.0.1')
        let text = ''
        socket.write('POST /work HTTP/1.0\r\nHost: x\r\nContent-Length: 1\r\n\r\nx')
        socket.on('data', (bytes) => (text += bytes.toString()))
        socket.on('error', () => resolve({ text, failed: true }))
        socket.on('end', () => resolve({ text, failed: false }))
      })
    const whole = speak()
    begin(await server.next(), 'one ')
    server.responses[0]?.end('two')
    assert.match((await whole).text, /\r\n\r\none two$/)
    assert.equal((await whole).failed, false)
    const part = speak()
    const response = await server.next(2)
    begin(response, 'one ')
    await until('it has begun', () => rig.jobs.answers.size === 1 && rig.jobs.answers.readers === 1)
    response.destroy()
    assert.equal((await part).failed, true)
  })
})

test('on a spill route what a server takes at once is streamed as ever, and what is stored is streamed from the store', async () => {
  const route = testRoute({ name: '/*', mode: 'spill', waitMs: 10_000, patienceMs: 50, redeliver: 'safe', stream: { onPartial: 'fail' } })
  await withRig({ routes: [route], pool: { maxInFlight: 1 }, queue: { concurrency: 1 } }, async (rig, server) => {
    const direct = post(rig)
    begin(await server.next(), 'direct')
    const first = await direct
    assert.equal(first.headers['spillway-job'], undefined)
    const spilled = post(rig)
    await until('it is stored', () => rig.calls.submit === 1)
    server.responses[0]?.end()
    begin(await server.next(2), 'spilled')
    const second = await spilled
    assert.equal(second.headers['spillway-offset'], '1-0')
    server.responses[1]?.end()
    assert.deepEqual([await textOf(first), await textOf(second)], ['direct', 'spilled'])
  })
})

test('a client that repeats its request with the same idempotency key reads the same answer', async () => {
  await withRig({}, async (rig, server) => {
    const key = { 'Idempotency-Key': 'k' }
    const posting = post(rig, key)
    const response = await server.next()
    begin(response, 'one ')
    const first = await posting
    const second = await post(rig, key)
    assert.deepEqual(
      [first, second].map(({ headers }) => headers['set-cookie']),
      [['a=1'], undefined],
    )
    assert.equal(second.headers['idempotency-replayed'], 'true')
    response.end('two')
    assert.deepEqual([await textOf(first), await textOf(second), server.responses.length], ['one two', 'one two', 1])
    const third = await post(rig, key)
    assert.deepEqual([third.headers['idempotency-replayed'], await textOf(third)], ['true', 'one two'])
  })
})

test('a gateway that stops lets an answer come to its end, or breaks it off for all and hands the job back', async () => {
  const route = testRoute({ name: '/*', waitMs: 10_000, stream: { onPartial: 'restart' } })
  await withRig({ routes: [route] }, async (rig, server) => {
    const [ending, hanging] = [post(rig), post(rig)]
    begin(await server.next(), 'one ')
    begin(await server.next(2), 'one ')
    const answers = await Promise.all([ending, hanging])
    const events = await open(`${rig.url}${resultOf(answers[1])}`, { headers: { Accept: 'text/event-stream' } })
    const draining = rig.jobs.drain(500)
    server.responses[0]?.end('two')
    const ids = answers.map((answer) => String(answer.headers['spillway-job']))
    const texts = await Promise.all(answers.map((answer) => textOf(answer).catch(() => 'broken off')))
    assert.deepEqual(texts.sort(), ['broken off', 'one two'])
    assert.match(await textOf(events), /retry: \d+\n\n$/, 'who watches is told when to come back')
    await draining
    const jobs = await Promise.all(ids.map((id) => rig.status(id)))
    assert.deepEqual(jobs.map(({ status }) => status).sort(), ['queued', 'succeeded'])
  })
})

test('where nobody has room in memory an answer waits for it, and none is lost', async () => {
  const limits = { ...testConfig({ pools: [], queues: [], routes: [] }).limits, buffered: 300_000 }
  await withRig({ config: { limits } }, async (rig, server) => {
    const posts = [post(rig), post(rig), post(rig)]
    const large = Buffer.alloc(1_000_000, 'x')
    for (let i = 1; i <= 3; i++) (await server.next(i)).end(large)
    const texts = await Promise.all(posts.map(async (posting) => textOf(await posting)))
    assert.deepEqual(
      texts.map(({ length }) => length),
      [1_000_000, 1_000_000, 1_000_000],
    )
    await until('all of the budget is free again', () => rig.budget.used === 0)
  })
})

test('while the gateway takes nothing, the silence of a server is not held against it', async () => {
  const limits = { ...testConfig({ pools: [], queues: [], routes: [] }).limits, buffered: 400_000 }
  await withRig({ config: { limits }, queue: { timeoutMs: 2000 } }, async (rig, server) => {
    const first = post(rig)
    begin(await server.next(), 'one ')
    const answer = await first
    const second = post(rig)
    begin(await server.next(2), 'all of it')
    // Together longer than a server may be silent; one pause is far from that, on a busy machine too.
    for (let i = 0; i < 12; i++) {
      await new Promise((resolve) => setTimeout(resolve, 200))
      server.responses[0]?.write('more ')
    }
    for (const response of server.responses) response.end()
    assert.deepEqual([await textOf(answer), await textOf(await second)], [`one ${'more '.repeat(12)}`, 'all of it'])
    assert.equal(server.responses.length, 2, 'neither had to begin anew')
  })
})

test('an EventSource reads it over a cut connection and a break, and is done at its end', async () => {
  const route = testRoute({ name: '/*', waitMs: 10_000, stream: { onPartial: 'restart' } })
  await withRig({ routes: [route] }, async (rig, server) => {
    const posting = post(rig)
    const first = await server.next()
    begin(first, 'void ')
    const answer = await posting
    answer.on('error', () => undefined)
    const source = new EventSource(`${rig.url}${resultOf(answer)}`)
    let text = ''
    let ended = false
    source.addEventListener('data', ({ data }) => (text += (JSON.parse(String(data)) as { text: string }).text))
    source.addEventListener('reset', () => (text = ''))
    source.addEventListener('end', () => (ended = true))
    await until('it has begun', () => text === 'void ')
    first.destroy()
    const second = await server.next(2)
    begin(second, 'one ')
    await until('it has begun anew', () => text === 'one ')
    second.end('two')
    await until('it has ended', () => ended)
    assert.equal(text, 'one two')
    await until('it does not come back', () => source.readyState === EventSource.CLOSED)
  })
})
