import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Bytes } from '../../lib/units.ts'
import { MemoryBlobs } from './memory-blobs.ts'

const EVENTS = { onDrain: () => undefined, onFailed: () => undefined }

test('an answer that is whole takes no more memory than it is long', async () => {
  const blobs = new MemoryBlobs()
  for (const [number, length] of [0, 1, 100, 65_535, 65_536, 65_636].entries()) {
    const writing = await blobs.create({ id: '0aaaaaaaaaa', number: number + 1 }, EVENTS)
    const bytes = Buffer.alloc(length, 'abc')
    writing.append(bytes)
    const ref = await writing.finish()
    const kept = await blobs.open('0aaaaaaaaaa', ref)
    const pieces: Uint8Array[] = []
    for (let at: Bytes = 0; at < length; at += pieces.at(-1)?.length ?? 0) pieces.push((await kept?.read(at)) as Uint8Array)
    assert.ok(Buffer.concat(pieces).equals(bytes), `${length} bytes`)
    const memory = new Set(pieces.map(({ buffer }) => buffer))
    const taken = [...memory].reduce((sum, { byteLength }) => sum + byteLength, 0)
    assert.ok(taken <= length, `${length} bytes take ${taken}`)
  }
})
