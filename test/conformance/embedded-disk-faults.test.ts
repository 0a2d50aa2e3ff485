/** A disk that is full, or refuses to write for a while: new jobs are refused with the reason, the rest goes on, and it ends by itself. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { troubleOf } from '../../src/engines/embedded/disk-trouble.ts'
import { verifyFolder } from '../../src/engines/embedded/offline-work.ts'
import { straceProblem } from '../crash/strace.ts'
import { embeddedRig, tempFolder } from './embedded-rig.ts'

/** Runs a script on a file system of its own. Its last line must be `fine`. */
function onSmallDisk(t: TestContext, script: string, size: string): void {
  const { path, dispose } = tempFolder()
  const file = join(import.meta.dirname, script)
  const inside = `mount -t tmpfs -o size=${size} tmpfs '${path}' && exec '${process.execPath}' '${file}' '${path}'`
  const run = spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'sh', '-c', inside], { encoding: 'utf8' })
  dispose()
  if (run.error !== undefined || /^(unshare|mount)/m.test(run.stderr)) return t.skip('a file system of its own cannot be mounted here')
  assert.equal(run.stdout.trim().split('\n').at(-1), 'fine', run.stdout + run.stderr)
}

/** The store's writes fail so, from one to another. */
function withRefusedWrites(path: string, fault: string): readonly string[] {
  const writer = join(import.meta.dirname, 'refusing-writer.ts')
  const strace = ['-f', '-qq', '-o', '/dev/null', '-e', 'trace=pwrite64', '-e', `inject=pwrite64:${fault}`, process.execPath, writer, path]
  const run = spawnSync('strace', strace, { encoding: 'utf8', timeout: 120_000 })
  assert.equal(run.status, 0, run.stdout + run.stderr)
  return run.stdout.trim().split('\n')
}

function all(lines: readonly string[], word: string): readonly string[] {
  return lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1))
}

describe('a disk', () => {
  it('that others fill to the last byte stops new jobs only, and not for longer than it is full', (t) => {
    onSmallDisk(t, 'full-to-the-brim.ts', '20m')
  })

  it('that an answer fills while it comes breaks off that answer only, and nothing is left of it', (t) => {
    onSmallDisk(t, 'full-of-an-answer.ts', '24m')
  })

  it('that is read-only from the beginning is said in one line', (t) => {
    const { path, dispose } = tempFolder()
    const file = join(import.meta.dirname, 'refusing-writer.ts')
    const inside = `mount -t tmpfs tmpfs '${path}' && mount -o remount,ro '${path}' && exec '${process.execPath}' '${file}' '${path}'`
    const run = spawnSync('unshare', ['--user', '--map-root-user', '--mount', 'sh', '-c', inside], { encoding: 'utf8' })
    dispose()
    if (run.error !== undefined || /^(unshare|mount)/m.test(run.stderr)) return t.skip('a file system of its own cannot be mounted here')
    assert.match(run.stderr, /StoreOpenError: cannot open the store at \S+: the file system is read-only/)
  })

  for (const [what, error, says] of [
    ['is read-only for a while', 'EROFS', /^disk: The store cannot be written: /],
    ['is full for a while', 'ENOSPC', /^disk: The disk is full$/],
    ['fails its writes for a while', 'EIO', /^disk: The store cannot be written: disk I\/O error$/],
    ['has used up its quota for a while', 'EDQUOT', /^disk: The store cannot be written: /],
  ] as const) {
    it(`that ${what} refuses new jobs, goes on reading, and takes jobs again by itself`, { skip: straceProblem() ?? false }, () => {
      const { path, dispose } = tempFolder()
      try {
        const lines = withRefusedWrites(join(path, 'data'), `error=${error}:when=150..157`)
        assert.deepEqual(all(lines, 'fatal'), [])
        assert.match(all(lines, 'refused')[0] ?? '', says, lines.slice(0, 40).join('\n'))
        assert.deepEqual([all(lines, 'refusing')[0], all(lines, 'read')[0]], ['disk', 'queued'])
        assert.equal(lines.at(-1), 'closed')
        assert.ok(lines.includes('refusing at the end undefined'))
        // Accepted after it as well, and each done once.
        const accepted = all(lines, 'accepted')
        assert.ok(accepted.length > 20)
        assert.deepEqual([...all(lines, 'done')].toSorted(), [...accepted].toSorted())
        assert.deepEqual(verifyFolder(join(path, 'data')).problems, [])
      } finally {
        dispose()
      }
    })
  }
})

describe('an error', () => {
  for (const [error, trouble] of [
    [{ errcode: 13 }, 'disk'],
    [{ errcode: 778 }, 'disk'],
    [{ errcode: 8 }, 'disk'],
    [{ errcode: 1032 }, 'fatal'],
    [{ errcode: 1034 }, 'fatal'],
    [{ errcode: 1290 }, 'fatal'],
    [{ errcode: 26 }, 'fatal'],
    [{ errcode: 11 }, 'damage'],
    [{ errcode: 266 }, 'damage'],
    [{ errcode: 19 }, 'none'],
    [{ code: 'EIO', syscall: 'fsync' }, 'fatal'],
    [{ code: 'ENOSPC', syscall: 'fsync' }, 'fatal'],
    [{ code: 'ENOSPC', syscall: 'write' }, 'disk'],
    [{ code: 'EROFS', syscall: 'open' }, 'disk'],
    [{ code: 'EIO', syscall: 'read' }, 'damage'],
    [new TypeError('a bug'), 'none'],
  ] as const) {
    it(`${JSON.stringify(error)} means ${trouble}`, () => assert.equal(troubleOf(error), trouble))
  }
})

describe('space', () => {
  it('is given back in small steps when much of it is free, and not before', async () => {
    const rig = embeddedRig()
    try {
      await rig.open()
      const file = join(rig.path, 'store.db')
      for (let n = 0; n < 40; n++) await rig.submitAll(Array.from({ length: 20 }, () => ({ body: Buffer.alloc(100_000, n), keepMs: 0 })))
      for (let leases = await rig.lease(); leases.length > 0; leases = await rig.lease()) {
        await rig.store.settle(leases.map(({ ref }) => ({ kind: 'fail', lease: ref, error: { code: 'x', detail: '' }, deadLetter: false })))
      }
      const { diskBytes = 0, reusableBytes = 0 } = await rig.store.info()
      assert.ok(diskBytes > 70_000_000 && reusableBytes > 0.9 * diskBytes, `${diskBytes} ${reusableBytes}`)
      let steps = 0
      for (; steps < 5000; steps++) {
        rig.clock.advance(20)
        const { nextMs } = await rig.store.tick()
        if (nextMs === undefined || nextMs > 20) break
      }
      assert.ok(steps > 200, `${steps} steps`)
      await rig.submit()
      await rig.store.close()
      assert.ok(statSync(file).size < 20_000_000, String(statSync(file).size))
      assert.deepEqual(verifyFolder(rig.path).problems, [])
      await rig.open()
    } finally {
      await rig.dispose()
    }
  })
})
