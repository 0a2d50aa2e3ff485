/**
 * A server, and the gateway, killed in the middle of answers that are handed on while they come: nobody takes a part for the whole, nobody gets parts
 * of two attempts as one, and what somebody was told is the whole, stays it.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { verifyFolder } from '../../src/engines/embedded/offline-work.ts'
import { FULL, tellFigures } from '../soak/form.ts'
import { readBody, readCut, readEvents, statusOf } from '../support/answer-readers.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { ask, open } from '../support/http-client.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import type { ServerProcess } from '../support/server-process.ts'
import { areBytesAt } from '../support/streamed-bytes.ts'
import { startStreamingServer } from '../support/streaming-server.ts'
import { until } from '../support/until.ts'

const SEED = seedOf()
const KILLS = FULL ? 60 : 6
const CLIENTS = 6

interface Place {
  readonly folder: string
  readonly server: ServerProcess
  start(): Promise<ChildGateway>
}

async function withPlace(work: (place: Place) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-streams-'))
  const server = await startStreamingServer()
  const lives: ChildGateway[] = []
  const pools = { api: { servers: [`http://127.0.0.1:${server.port}`], slowStart: '0s' } }
  const routes = (['fail', 'restart'] as const).map((onPartial) => ({
    match: { method: 'POST', path: '/stream', headers: { 'x-partial': onPartial } },
    mode: 'queue' as const,
    queue: 'streams',
    stream: true,
    onPartial,
  }))
  const queues = { streams: { concurrency: 32, backoff: { base: '50ms', max: '1s' } } }
  try {
    await work({
      folder,
      server,
      async start() {
        const gateway = await startGateway({ pools, routes, queues }, { folder })
        lives.push(gateway)
        return gateway
      },
    })
  } finally {
    await Promise.all(lives.map((gateway) => gateway.kill()))
    await server.kill()
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Posted {
  /** Of its result, without the gateway's address. */
  readonly path: string
  /** What its own client got, and whether it was told that this is all. */
  readonly own: Promise<{ readonly bytes: number; readonly whole: boolean }>
}

async function post(gateway: ChildGateway, query: string, onPartial: 'fail' | 'restart'): Promise<Posted> {
  const answer = await open(`${gateway.url}/stream?${query}`, { method: 'POST', headers: { 'x-partial': onPartial } })
  assert.equal(answer.statusCode, 200)
  const own = async (): ReturnType<() => Posted['own']> => {
    let bytes = 0
    try {
      for await (const piece of answer as AsyncIterable<Buffer>) {
        assert.ok(areBytesAt(bytes, piece))
        bytes += piece.length
      }
      return { bytes, whole: true }
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error
      return { bytes, whole: false }
    }
  }
  return { path: /<(.+)>; rel="monitor"/.exec(String(answer.headers['link']))?.[1] ?? '', own: own() }
}

function streamFiles(folder: string): readonly string[] {
  return readdirSync(join(folder, 'data', 'bodies')).filter((name) => name.includes('.stream'))
}

for (const framing of ['length=1', 'chunked=1']) {
  test(`a server killed in the middle of an answer (${framing}): no reader mistakes the part for the whole`, async () => {
    await withPlace(async ({ server, start, folder }) => {
      const gateway = await start()
      const stop = 700_000
      const { path, own } = await post(gateway, `bytes=1000000&stop=${stop}&${framing}`, 'fail')
      const url = `${gateway.url}${path}`
      const readers = [own, readBody(url), readCut(url, 100_000), readEvents(url, 'sse'), readEvents(url, 'ndjson')]
      await until('all that was sent is there', async () => (await ask(`${url}?offset=1-${stop}`)).status === 200)
      await server.kill()
      const got = await Promise.all(readers)
      assert.deepEqual(
        got.map(({ whole }) => whole),
        readers.map(() => false),
      )
      const status = await statusOf(url)
      assert.deepEqual([status['status'], (status['error'] as Record<string, unknown>)['code']], ['failed', 'answer_broken'])
      assert.equal((await ask(`${url}?offset=1-${stop}`)).status, 409)
      assert.equal((await ask(url)).status, 502)
      assert.deepEqual(streamFiles(folder), [])
    })
  })
}

test('the gateway killed in the middle of an answer: the job has failed, or begins anew, and who comes back is told', async () => {
  await withPlace(async ({ start, folder }) => {
    const first = await start()
    const bytes = 1_000_000
    const query = `bytes=${bytes}&piece=10000&everyMs=10`
    const failing = await post(first, query, 'fail')
    const again = await post(first, query, 'restart')
    const readers = [failing, again].map(({ path }) => readEvents(`${first.url}${path}`, 'sse'))
    await until('much has come', async () => {
      const asked = await Promise.all([failing, again].map(({ path }) => ask(`${first.url}${path}?offset=1-200000`)))
      return asked.every(({ status }) => status === 200)
    })
    await first.kill()
    const [ofFailing, ofAgain] = await Promise.all(readers)
    assert.deepEqual([ofFailing?.whole, ofAgain?.whole, (await failing.own).whole], [false, false, false])
    const second = await start()
    const failed = `${second.url}${failing.path}`
    const resumed = await readEvents(failed, 'sse', ofFailing?.lastId)
    assert.deepEqual([resumed.whole, resumed.resets, resumed.bytes], [false, 1, 0])
    assert.match(resumed.lastId, /^end-/)
    assert.equal(((await statusOf(failed))['error'] as Record<string, unknown>)['code'], 'answer_broken')
    assert.equal((await ask(`${failed}?offset=1-200000`)).json()['code'], 'answer_reset')
    const anew = await readEvents(`${second.url}${again.path}`, 'sse', ofAgain?.lastId)
    assert.deepEqual([anew.whole, anew.resets, anew.bytes], [true, 1, bytes])
    assert.equal((await ask(`${second.url}${again.path}?offset=1-200000`)).json()['code'], 'answer_reset')
    assert.deepEqual(await readBody(`${second.url}${again.path}`), { bytes, whole: true })
    assert.equal(streamFiles(folder).length, 1, 'of the parts nothing is left')
  })
})

test(`however often the gateway is killed, what was told to be whole stays so (SEED=${SEED})`, { timeout: 600_000 }, async (t) => {
  const random = new SeededRandom(SEED)
  await withPlace(async ({ start, folder }) => {
    const posted: { readonly path: string; readonly onPartial: 'fail' | 'restart'; readonly bytes: number; whole: boolean }[] = []
    let broken = 0
    for (let life = 0; life <= KILLS; life++) {
      const gateway = await start()
      const isLast = life === KILLS
      let over = false
      const client = async (): Promise<void> => {
        while (!over) {
          const onPartial = random.chance(0.5) ? 'restart' : 'fail'
          const bytes = 1 + random.integer(400_000)
          const query = `bytes=${bytes}&piece=${1 + random.integer(20_000)}&everyMs=${random.integer(3)}`
          const one = await post(gateway, query, onPartial).catch(() => undefined)
          if (one === undefined) return
          const job = { path: one.path, onPartial, bytes, whole: false } as const
          const told = { ...job, whole: false as boolean }
          posted.push(told)
          const got = await one.own
          if (got.whole) assert.equal(got.bytes, bytes)
          else broken += 1
          told.whole = got.whole
        }
      }
      const clients = Array.from({ length: isLast ? 0 : CLIENTS }, client)
      if (!isLast) {
        await new Promise((resolve) => setTimeout(resolve, 200 + random.integer(600)))
        await gateway.kill()
        over = true
        await Promise.all(clients)
        continue
      }
      for (const { path, onPartial, bytes, whole } of posted) {
        const url = `${gateway.url}${path}`
        await until(`${path} has ended`, async () => (await statusOf(url))['finishedAt'] !== undefined)
        const { status } = await statusOf(url)
        if (whole || onPartial === 'restart') assert.equal(status, 'succeeded', `${onPartial}, whole: ${whole}`)
        if (status === 'succeeded') assert.deepEqual(await readBody(url), { bytes, whole: true })
        else assert.equal((await ask(url)).status, 502)
      }
      const kept = await Promise.all(posted.map(async ({ path }) => (await statusOf(`${gateway.url}${path}`))['status'] === 'succeeded'))
      assert.ok(streamFiles(folder).length >= kept.filter(Boolean).length)
      gateway.signal('SIGTERM')
      await gateway.exited
    }
    assert.deepEqual(verifyFolder(join(folder, 'data')).problems, [])
    tellFigures(t, `${KILLS} kills, ${posted.length} answers, ${broken} broke off under their clients`)
    assert.ok(broken > 0 && posted.some(({ whole }) => whole), 'the kills hit something, and not everything')
  })
})
