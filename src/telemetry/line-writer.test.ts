import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { LineWriter } from './line-writer.ts'

function inFolder(body: (folder: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'spillway-lines-'))
    try {
      await body(folder)
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
}

function counted(): { dropped: number; onDrop: (lines: number) => void } {
  const result = { dropped: 0, onDrop: (lines: number): void => void (result.dropped += lines) }
  return result
}

test(
  'lines arrive whole and in order, the file is for its owner only',
  inFolder(async (folder) => {
    const file = path.join(folder, 'access.log')
    const drops = counted()
    const writer = new LineWriter(file, { bufferedMax: 1 << 22, delayMs: 0, onDrop: drops.onDrop })
    const lines = Array.from({ length: 20_000 }, (_, i) => `line ${i} ü`)
    for (const [i, line] of lines.entries()) {
      writer.write(line)
      if (i % 5000 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await writer.close()
    assert.equal(readFileSync(file, 'utf8'), `${lines.join('\n')}\n`)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    assert.equal(drops.dropped, 0)
  }),
)

test(
  'what fits exactly is kept, one more is dropped and counted',
  inFolder(async (folder) => {
    const file = path.join(folder, 'access.log')
    const drops = counted()
    const writer = new LineWriter(file, { bufferedMax: 20, delayMs: 1000, onDrop: drops.onDrop })
    assert.equal(writer.write('123456789'), true)
    assert.equal(writer.write('123456789'), true)
    assert.equal(writer.write(''), false)
    assert.equal(drops.dropped, 1)
    await writer.flush()
    assert.equal(writer.write('again'), true)
    await writer.close()
    assert.equal(readFileSync(file, 'utf8'), '123456789\n123456789\nagain\n')
  }),
)

test(
  'a reader that does not read costs lines, never time',
  inFolder(async (folder) => {
    const pipe = path.join(folder, 'pipe')
    execFileSync('/usr/bin/mkfifo', [pipe])
    const reader = openSync(pipe, 'r+')
    const drops = counted()
    const writer = new LineWriter(pipe, { bufferedMax: 256 * 1024, delayMs: 0, onDrop: drops.onDrop })
    const line = 'x'.repeat(1023)
    let kept = 0
    // More than the pipe and the buffer hold, over many turns of the loop: none of them hangs.
    for (let i = 0; i < 2000; i++) {
      if (writer.write(line)) kept++
      if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    assert.ok(drops.dropped > 0)
    assert.equal(kept + drops.dropped, 2000)
    // Read again: everything that was kept comes through.
    const closed = writer.close()
    const buffer = Buffer.alloc(64 * 1024)
    let read = 0
    while (read < kept * 1024) {
      read += readSync(reader, buffer)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await closed
    assert.equal(read, kept * 1024)
    closeSync(reader)
  }),
)

test(
  'after close lines are dropped and counted',
  inFolder(async (folder) => {
    const drops = counted()
    const writer = new LineWriter(path.join(folder, 'log'), { bufferedMax: 100, delayMs: 0, onDrop: drops.onDrop })
    await writer.close()
    assert.equal(writer.write('late'), false)
    assert.equal(drops.dropped, 1)
  }),
)

test(
  'flushSync writes what waits before it returns',
  inFolder(async (folder) => {
    const file = path.join(folder, 'log')
    const writer = new LineWriter(file, { bufferedMax: 100, delayMs: 1000, onDrop: () => {} })
    writer.write('last words')
    writer.flushSync()
    assert.equal(readFileSync(file, 'utf8'), 'last words\n')
    await writer.close()
  }),
)

test('a file that cannot be opened is an error at once', () => {
  assert.throws(() => new LineWriter('/does/not/exist/log', { bufferedMax: 100, delayMs: 0, onDrop: () => {} }), /ENOENT/)
})
