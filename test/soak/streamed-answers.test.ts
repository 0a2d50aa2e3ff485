/**
 * A large answer and one that grows slowly, each read by several at once: one as it comes, one that is cut off again and again, one that is slow,
 * one as events. All get the same, byte for byte, and the gateway's memory does not grow with the answer.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { readBody, readCut, readEvents } from '../support/answer-readers.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { open } from '../support/http-client.ts'
import type { ServerProcess } from '../support/server-process.ts'
import { startStreamingServer } from '../support/streaming-server.ts'
import { mib, MIB, sized, tellFigures } from './form.ts'

const LARGE = sized([50 * MIB, 3 * MIB])
const GROWING = sized([2 * MIB, 100_000])
/** In the full form the slow one takes nine minutes. */
const BYTES_PER_SECOND = sized([100_000, 1_500_000])
const CUTS = 10

let folder: string
let server: ServerProcess
let gateway: ChildGateway

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-streams-'))
  server = await startStreamingServer()
  const route = { match: 'POST /stream', mode: 'queue', stream: true } as const
  gateway = await startGateway({ pools: { api: [`http://127.0.0.1:${server.port}`] }, routes: [route] }, { folder })
})

after(async () => {
  await gateway.kill()
  await server.kill()
  rmSync(folder, { recursive: true, force: true })
})

/** Where its result is, and the bytes that its own client gets. */
async function post(query: string): Promise<{ readonly url: string; readonly own: Promise<number> }> {
  const answer = await open(`${gateway.url}/stream?${query}`, { method: 'POST' })
  assert.equal(answer.statusCode, 200)
  const [, path = ''] = /<(.+)>; rel="monitor"/.exec(String(answer.headers['link'])) ?? []
  const own = (async () => {
    let bytes = 0
    for await (const piece of answer as AsyncIterable<Buffer>) bytes += piece.length
    return bytes
  })()
  return { url: `${gateway.url}${path}`, own }
}

async function readByAll(query: string, bytes: number): Promise<void> {
  const { url, own } = await post(query)
  const cutAfter = Math.ceil(bytes / (CUTS + 1))
  const [asItComes, cut, slow, sse, ndjson, client] = await Promise.all([
    readBody(url),
    readCut(url, Math.floor(cutAfter / 2)),
    readBody(url, { bytesPerSecond: BYTES_PER_SECOND }),
    readEvents(url, 'sse'),
    readEvents(url, 'ndjson'),
    own,
  ])
  const whole = { bytes, whole: true }
  assert.deepEqual([asItComes, slow, client], [whole, whole, bytes])
  assert.deepEqual([cut.bytes, cut.whole], [bytes, true])
  assert.ok(cut.cuts >= CUTS, `it was cut ${cut.cuts} times`)
  for (const events of [sse, ndjson]) assert.deepEqual([events.bytes, events.whole, events.resets], [bytes, true, 0])
  assert.deepEqual(await readBody(url), whole, 'also when it is stored')
}

test(`a large answer is the same for all who read it`, async (t) => {
  await readByAll(`bytes=${LARGE}`, LARGE)
  tellFigures(t, `${mib(LARGE)}, the slowest at ${BYTES_PER_SECOND} bytes/s`)
})

test('so is one that grows slowly', async () => {
  await readByAll(`bytes=${GROWING}&piece=${Math.ceil(GROWING / 200)}&everyMs=${sized([200, 5])}`, GROWING)
})
