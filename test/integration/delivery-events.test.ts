/** A job's events, delivered to real clients that are cut off: each hears of everything, in order, nothing twice, and stops after the end. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { EventSource } from 'eventsource'
import { fetch as undiciFetch } from 'undici'
import { WebSocket } from 'ws'
import { deliver, type Listener, type Told } from '../support/delivery.ts'

const NO_CURL = spawnSync('curl', ['--version']).status === 0 ? false : 'there is no curl: apt-get install curl'
/** Of clients that do not come back by themselves. */
const PAUSE_MS = 50

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, PAUSE_MS))

/** A client that is started again, with the id of the last event, until it has seen the end. */
function again(told: Told[], connect: (last: number | undefined, left: AbortSignal) => Promise<'over' | 'cut'>): Listener {
  const left = new AbortController()
  let stopped = false
  void (async () => {
    while (!left.signal.aborted) {
      const how = await connect(told.at(-1)?.version, left.signal).catch(() => 'cut' as const)
      if (how === 'over') break
      await pause()
    }
    stopped = true
  })()
  return { told, stopped: () => stopped, leave: () => left.abort() }
}

/** The lines of a stream of either kind. */
async function readTold(lines: AsyncIterable<string>, told: Told[]): Promise<void> {
  for await (const line of lines) {
    const text = line.startsWith('data: ') ? line.slice('data: '.length) : line
    if (!text.startsWith('{')) continue
    const event = JSON.parse(text) as Told
    if (event.event !== 'heartbeat') told.push(event)
  }
}

for (const accept of ['text/event-stream', 'application/x-ndjson']) {
  const headersOf = (last: number | undefined): Record<string, string> => ({
    accept,
    ...(last === undefined ? {} : { 'last-event-id': String(last) }),
  })

  test(`curl, ${accept}`, { skip: NO_CURL }, async () => {
    await deliver((url) => {
      const told: Told[] = []
      return again(told, async (last, left) => {
        const headers = Object.entries(headersOf(last)).flatMap(([name, value]) => ['-H', `${name}: ${value}`])
        const curl: ChildProcess = spawn('curl', ['-sSN', '--max-time', '60', '-w', '\n%{http_code}\n', ...headers, `${url}/events`])
        left.addEventListener('abort', () => curl.kill(), { once: true })
        let status = ''
        const lines = createInterface({ input: curl.stdout as Readable })
        lines.on('line', (line) => (status = line))
        const [[code]] = (await Promise.all([once(curl, 'close'), readTold(lines, told)])) as [[number], void]
        // 204: it has seen the end. curl says by its exit code that a body was cut off.
        return status === '204' || (code === 0 && told.at(-1)?.event === 'end') ? 'over' : 'cut'
      })
    })
  })

  test(`fetch of undici, ${accept}`, async () => {
    await deliver((url) => {
      const told: Told[] = []
      return again(told, async (last, left) => {
        const response = await undiciFetch(`${url}/events`, { headers: headersOf(last), signal: left })
        if (response.status === 204) return 'over'
        assert.equal(response.headers.get('content-type'), accept)
        await readTold(createInterface({ input: Readable.fromWeb(response.body as never) }), told)
        return told.at(-1)?.event === 'end' ? 'over' : 'cut'
      })
    })
  })
}

test('long polls of undici', async () => {
  await deliver((url) => {
    const told: Told[] = []
    let tag: string | undefined
    return again(told, async (_, left) => {
      const headers = tag === undefined ? {} : { 'if-none-match': tag }
      const response = await undiciFetch(`${url}${tag === undefined ? '' : '?wait=20s'}`, { headers, signal: left })
      tag = response.headers.get('etag') ?? tag
      if (response.status === 304) return 'cut'
      const document = (await response.json()) as Told
      const version = Number(/"(\d+)/.exec(tag ?? '')?.[1])
      const isEnd = document.status === 'succeeded'
      told.push({ ...document, version, event: isEnd ? 'end' : 'status' })
      return isEnd ? 'over' : 'cut'
    })
  })
})

test('the EventSource of npm: it comes back by itself, and after the end no more', async () => {
  await deliver((url) => {
    const told: Told[] = []
    const source = new EventSource(`${url}/events`)
    for (const event of ['status', 'progress', 'end']) {
      source.addEventListener(event, ({ data, lastEventId }: { readonly data: string; readonly lastEventId: string }) => {
        const read = JSON.parse(data) as Told
        assert.deepEqual([read.event, String(read.version)], [event, lastEventId])
        told.push(read)
      })
    }
    return { told, stopped: () => source.readyState === EventSource.CLOSED, leave: () => source.close() }
  })
})

test('the WebSocket of ws', async () => {
  const listen = (url: string): Listener => {
    const told: Told[] = []
    return again(told, async (_, left) => {
      const socket = new WebSocket(`${url.replace('http', 'ws')}/events`)
      left.addEventListener('abort', () => socket.terminate(), { once: true })
      socket.on('message', (data) => {
        const read = JSON.parse((data as Buffer).toString()) as Told
        if (read.event !== 'heartbeat') told.push(read)
      })
      socket.on('error', () => undefined)
      const [code] = (await once(socket, 'close')) as [number]
      return code === 1000 ? 'over' : 'cut'
    })
  }
  await deliver(listen, { toldAgain: true })
})
