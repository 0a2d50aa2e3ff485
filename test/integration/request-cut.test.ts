/** `request()` and answers whose connection is cut while they are read: what is missing is asked for, of the same answer, or the body breaks off. */
import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { request, SpillwayError, type SpillwayRequestInit } from '../../src/client/client.ts'
import { startCuttingLine } from '../support/cutting-line.ts'
import { sendJson, startRouteRig } from '../support/route-rig.ts'
import { until } from '../support/until.ts'

const retry = { baseMs: 10, maxMs: 200 }
const POST: SpillwayRequestInit = { method: 'POST', body: '1', retry }
const ROUTE = { match: 'POST /reports', mode: 'queue', wait: '20s', stream: true } as const

function text(length: number): string {
  return Array.from({ length: length / 8 }, (_, i) => String(i).padStart(8, '.')).join('')
}

/** Its head goes with the first bytes. */
function begin(response: ServerResponse, part: string, headers = {}): void {
  response.writeHead(200, { 'content-type': 'text/plain', ...headers })
  response.write(part)
}

async function readSome(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  return new TextDecoder().decode((await reader.read()).value)
}

async function readRest(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<string> {
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return rest
    rest += new TextDecoder().decode(value)
  }
}

test('an answer under way that is cut off again and again goes on where it was, to its end', async () => {
  await using rig = await startRouteRig({ routes: [ROUTE] })
  await using line = await startCuttingLine(rig.gatewayUrl)
  line.bytesOfNext = () => 40_000
  const asked = request(`${line.url}/reports`, POST)
  const response = await rig.nextOwed()
  const whole = text(200_000)
  begin(response, whole.slice(0, 1000))
  const answer = await asked
  assert.equal((await asked.job)?.id, answer.headers.get('spillway-job'))
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader()
  let read = await readSome(reader)
  response.write(whole.slice(1000, 150_000))
  while (read.length < 100_000) read += await readSome(reader)
  response.end(whole.slice(150_000))
  assert.equal(read + (await readRest(reader)), whole)
  assert.ok(line.cuts >= 4)
  assert.equal(rig.server.received.length, 1)
})

test('an answer under way is never put together of two attempts', async () => {
  await using rig = await startRouteRig({ routes: [{ ...ROUTE, onPartial: 'restart' }] })
  const asked = request(`${rig.url}/reports`, POST)
  const first = await rig.nextOwed()
  begin(first, 'of the first, ')
  const reader = ((await asked).body as ReadableStream<Uint8Array>).getReader()
  assert.equal(await readSome(reader), 'of the first, ')
  first.destroy()
  const second = await rig.nextOwed()
  begin(second, 'of the second')
  second.end()
  await assert.rejects(readRest(reader), (error: unknown) => error instanceof SpillwayError && error.code === 'answer_reset')
  // It is there, as a whole.
  assert.equal(await (await (await asked.job)?.result())?.text(), 'of the second')
})

test('a large result that is cut off again and again goes on where it was', async () => {
  await using rig = await startRouteRig({ limits: { result: '16MiB' } })
  await using line = await startCuttingLine(rig.gatewayUrl)
  const whole = text(5 << 20)
  line.bytesOfNext = () => 1 << 20
  const asked = request(`${line.url}/reports`, POST)
  const response = await rig.nextOwed()
  begin(response, whole)
  response.end()
  assert.equal(await (await asked).text(), whole)
  assert.ok(line.cuts >= 4)
})

test('what was packed breaks off: its bytes cannot be counted', async () => {
  await using rig = await startRouteRig({ routes: [ROUTE] })
  await using line = await startCuttingLine(rig.gatewayUrl)
  line.bytesOfNext = () => 2000
  const asked = request(`${line.url}/reports`, POST)
  const response = await rig.nextOwed()
  const packed = gzipSync(Buffer.from(crypto.getRandomValues(new Uint8Array(60_000))))
  response.writeHead(200, { 'content-encoding': 'gzip' })
  response.write(packed.subarray(0, 500))
  const answer = await asked
  response.end(packed.subarray(500))
  await assert.rejects(answer.arrayBuffer())
})

test('whoever leaves an answer that was cut off is asked for nothing more', async () => {
  await using rig = await startRouteRig({ routes: [ROUTE] })
  for (const leave of ['cancel', 'abort'] as const) {
    const leaving = new AbortController()
    const asked = request(`${rig.url}/reports`, { ...POST, signal: leaving.signal })
    const response = await rig.nextOwed()
    begin(response, 'one ')
    const reader = ((await asked).body as ReadableStream<Uint8Array>).getReader()
    assert.equal(await readSome(reader), 'one ')
    const results = (): number => rig.line.passed.filter(({ path }) => path.includes('/result')).length
    const before = results()
    rig.line.fault = ({ path }) => (path.includes('/result') ? 'lose-request' : undefined)
    rig.line.breakAll()
    const reading = reader.read()
    await until('the rest was asked for', () => results() > before)
    const reason = new Error('enough')
    if (leave === 'abort') {
      const left = assert.rejects(reading, reason)
      leaving.abort(reason)
      await left
    } else {
      await reader.cancel(reason)
      assert.equal((await reading).done, true)
    }
    const then = results()
    response.end('two')
    await until('it has ended', async () => (await (await asked.job)?.status())?.status === 'succeeded')
    // One may have been on its way.
    assert.ok(results() <= then + 1)
    rig.line.fault = () => undefined
  }
})

test('a program that hears by the job that there is none is not ended by the answer', async () => {
  await using rig = await startRouteRig()
  rig.line.fault = () => 'lose-request'
  const unheard: unknown[] = []
  const hear = (error: unknown): void => void unheard.push(error)
  process.on('unhandledRejection', hear)
  try {
    await assert.rejects(request(`${rig.url}/reports`, { ...POST, retry: { attempts: 1 } }).job)
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(unheard, [])
  } finally {
    process.off('unhandledRejection', hear)
  }
  rig.line.fault = () => undefined
  const asked = request(`${rig.url}/reports`, POST)
  sendJson(await rig.nextOwed(), 200, 'done')
  assert.equal(await (await asked).json(), 'done')
})
