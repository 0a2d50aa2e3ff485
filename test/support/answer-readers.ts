/** Ways to read a streamed answer, each of which says what it got and whether it was told that this is all of it. What comes is compared by its place. */
import assert from 'node:assert/strict'
import { ask, blocks, open } from './http-client.ts'
import { areBytesAt } from './streamed-bytes.ts'

export interface Got {
  readonly bytes: number
  /** It was told that this is the whole. */
  readonly whole: boolean
}

export interface Pace {
  /** Reads no faster. */
  readonly bytesPerSecond?: number
}

/** As a body. */
export async function readBody(url: string, pace: Pace = {}): Promise<Got> {
  let bytes = 0
  const startedAt = performance.now()
  try {
    const response = await open(url)
    assert.equal(response.statusCode, 200)
    for await (const piece of response as AsyncIterable<Buffer>) {
      assert.ok(areBytesAt(bytes, piece), `other bytes after ${bytes}`)
      bytes += piece.length
      const { bytesPerSecond = Number.POSITIVE_INFINITY } = pace
      const dueInMs = startedAt + (bytes / bytesPerSecond) * 1000 - performance.now()
      if (dueInMs > 1) await new Promise((resolve) => setTimeout(resolve, dueInMs))
    }
    return { bytes, whole: true }
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error
    return { bytes, whole: false }
  }
}

/** By offsets; after so many bytes the connection is cut. `cuts`: how often it was. */
export async function readCut(url: string, cutAfter: number): Promise<Got & { readonly cuts: number }> {
  let bytes = 0
  let cuts = 0
  let since = 0
  for (;;) {
    const cut = new AbortController()
    const response = await open(`${url}?offset=1-${bytes}&wait=20s`, { signal: cut.signal })
    if (response.statusCode !== 200) return { bytes, whole: false, cuts }
    try {
      for await (const piece of response as AsyncIterable<Buffer>) {
        assert.ok(areBytesAt(bytes, piece), `other bytes after ${bytes}`)
        bytes += piece.length
        since += piece.length
        if (since >= cutAfter) {
          since = 0
          cuts += 1
          cut.abort()
        }
      }
      if (response.headers['spillway-complete'] === 'true') return { bytes, whole: true, cuts }
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error
      if (!cut.signal.aborted) return { bytes, whole: false, cuts }
    }
  }
}

/** As events; goes on where it was, with what it has seen, until it has seen the end. */
export async function readEvents(
  url: string,
  format: 'sse' | 'ndjson',
  lastId = '',
): Promise<Got & { readonly lastId: string; readonly resets: number }> {
  const accept = format === 'sse' ? 'text/event-stream' : 'application/x-ndjson'
  const headers = { Accept: accept, ...(lastId === '' ? {} : { 'Last-Event-ID': lastId }) }
  let at = lastId
  let bytes = Number(/^\d+-(\d+)$/.exec(lastId)?.[1] ?? 0)
  let resets = 0
  try {
    for await (const block of blocks(await open(url, { headers }), format === 'sse' ? '\n\n' : '\n')) {
      const data = format === 'sse' ? /^data: (.*)$/m.exec(block)?.[1] : block
      if (data === undefined) continue
      const event = JSON.parse(data) as Readonly<Record<string, string>>
      at = /^id: (.*)$/m.exec(block)?.[1] ?? event['offset'] ?? at
      if (event['event'] === 'end') return { bytes, whole: event['status'] === 'succeeded', lastId: at, resets }
      if (event['event'] === 'reset') {
        bytes = 0
        resets += 1
      }
      if (event['event'] !== 'data') continue
      const piece = event['text'] === undefined ? Buffer.from(event['base64'] ?? '', 'base64') : Buffer.from(event['text'])
      assert.ok(areBytesAt(bytes, piece), `other bytes after ${bytes}`)
      bytes += piece.length
    }
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error
  }
  return { bytes, whole: false, lastId: at, resets }
}

export async function statusOf(url: string): Promise<Record<string, unknown>> {
  return (await ask(url.replace('/result', ''))).json()
}
