/**
 * A sync that fails. After it nobody knows what is on the disk, and asking again would get a lie for an answer, so the store must stop:
 * nothing is accepted after it, the owner is told, and what was accepted before is there.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { systemClock, systemRandom } from '../../src/ports/system.ts'
import { NO_LIMITS } from '../conformance/rig.ts'
import { openInProcess } from '../support/in-process-store.ts'
import { straceProblem } from './strace.ts'

/** Runs the writer with the n-th call of that name failing, and all after it. */
function runWith(path: string, fault: string): readonly string[] {
  const writer = join(import.meta.dirname, 'sync-failure-writer.ts')
  const strace = ['-f', '-qq', '-o', '/dev/null', '-e', `inject=${fault}`, process.execPath, writer, path]
  const run = spawnSync('strace', strace, { encoding: 'utf8', timeout: 60_000 })
  return run.stdout.trim().split('\n')
}

for (const [name, fault, reason] of [['a sync', 'fsync,fdatasync:error=EIO:when=60+', /disk I\/O error/]] as const) {
  test(`${name} that fails ends the store, and nothing that was accepted is lost`, { skip: straceProblem() ?? false }, async () => {
    const path = mkdtempSync(join(tmpdir(), 'spillway-sync-'))
    try {
      const lines = runWith(path, fault)
      const fatal = lines.findIndex((line) => line.startsWith('fatal'))
      assert.ok(fatal > 0, lines.join('\n'))
      assert.match(lines[fatal] ?? '', reason)
      const accepted = lines.filter((line) => line.startsWith('accepted')).map((line) => line.slice('accepted '.length))
      assert.ok(accepted.length > 0, 'it had accepted some')
      assert.ok(
        lines.slice(fatal).every((line) => !line.startsWith('accepted')),
        'nothing is accepted after it',
      )
      assert.equal(lines.filter((line) => line.startsWith('rejected')).length, 3, 'the call that met it, and all later ones')
      const options = { path, clock: systemClock, random: systemRandom, queues: [{ name: 'q', limits: NO_LIMITS }], diskFloorBytes: 0 }
      const store = openInProcess(options)
      const missing = (await store.read(accepted, 'status')).filter((read) => read === undefined)
      await store.close()
      assert.deepEqual(missing, [])
    } finally {
      rmSync(path, { recursive: true, force: true })
    }
  })
}
