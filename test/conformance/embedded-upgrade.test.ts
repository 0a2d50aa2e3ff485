/** A store of the format before this one: what it meant is what it means, and there is a way back. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, it } from 'node:test'
import { backupFolder, restoreBackup, verifyFolder } from '../../src/engines/embedded/offline-work.ts'
import { StoreOpenError } from '../../src/engines/embedded/store-open-error.ts'
import { FINGERPRINT, idOf, LARGE_BODY, makeFormat1, SCOPE_KEY } from '../support/format-1.ts'
import { EmbeddedRig, embeddedRig, tempFolder } from './embedded-rig.ts'
import { newJob } from './rig.ts'

async function withFormat1(run: (rig: EmbeddedRig) => Promise<void>): Promise<void> {
  const { path, dispose } = tempFolder()
  const rig = new EmbeddedRig(join(path, 'store'))
  try {
    makeFormat1(rig.path, rig.clock.now())
    await run(rig)
    assert.deepEqual([rig.fatal, rig.corrupt], [[], []])
  } finally {
    await rig.dispose()
    dispose()
  }
}

function formatOf(path: string): unknown {
  const db = new DatabaseSync(join(path, 'store.db'), { readOnly: true })
  const version = db.prepare('PRAGMA user_version').get()?.['user_version']
  db.close()
  return version
}

function tablesOf(path: string): readonly unknown[] {
  const db = new DatabaseSync(join(path, 'store.db'), { readOnly: true })
  const tables = db.prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT GLOB 'dedup_*' ORDER BY name").all()
  db.close()
  // When a table is renamed SQLite writes its name anew, in quotes.
  return tables.map(({ name, sql }) => [name, String(sql).replaceAll('"', '')])
}

describe('a store of format 1', () => {
  it('opens: every job is what it was, and all figures are right', async () => {
    await withFormat1(async (rig) => {
      await rig.open()
      const read = async (job: Parameters<typeof idOf>[0]) => (await rig.read(idOf(job))) ?? assert.fail(job)
      assert.equal((await read('waiting')).status, 'queued')
      assert.equal((await read('second')).blockedBy, idOf('first'))
      assert.equal((await read('delayed')).notBefore, rig.clock.now() + 5000)
      assert.deepEqual([(await read('dead')).dead, (await read('dead')).error?.status], ['server_error', 500])
      assert.equal(Buffer.from((await rig.result(idOf('succeeded')))?.answer?.body ?? []).toString(), 'done')
      // Whoever ran them is gone.
      assert.deepEqual([(await read('running')).status, (await read('running')).handOuts], ['queued', 1])
      assert.deepEqual([(await read('once')).status, (await read('once')).dead], ['failed', 'outcome_unknown'])
      const { counts, scheduled, dead } = await rig.stats()
      assert.deepEqual([counts.queued, counts.running, counts.succeeded, counts.failed, scheduled], [5, 0, 1, 2, 1])
      assert.deepEqual(dead, { server_error: 1, outcome_unknown: 1 })
      await rig.store.close()
      assert.equal(formatOf(rig.path), 2)
      assert.deepEqual(verifyFolder(rig.path).problems, [])
      await rig.open()
    })
  })

  it('goes on: order of keys, bodies, delays, idempotency keys, fences', async () => {
    await withFormat1(async (rig) => {
      await rig.open()
      const leases = await rig.lease()
      assert.deepEqual(
        leases.map(({ ref }) => ref.id),
        (['waiting', 'first', 'running'] as const).map(idOf),
      )
      assert.ok(leases.every(({ ref }) => ref.fence > 41 * 2 ** 32 + 7))
      assert.ok(LARGE_BODY.equals(leases[0]?.request.body ?? Buffer.alloc(0)))
      for (const { ref } of leases) await rig.succeed(ref)
      assert.deepEqual(await rig.leaseIds(), [idOf('second')])
      await rig.pass(5000)
      assert.deepEqual(await rig.leaseIds(), [idOf('delayed')])
      const [again] = await rig.store.submit([newJob({ idempotency: { scopeKey: SCOPE_KEY, fingerprint: FINGERPRINT, keepMs: 1000 } })])
      assert.equal(again?.kind === 'duplicate' && again.job.id, idOf('waiting'))
      const [redriven] = await rig.store.command([{ kind: 'redrive', id: idOf('dead') }])
      assert.equal(redriven?.kind, 'done')
    })
  })

  it('has the tables of a new one, and gives space back as it does', async () => {
    const fresh = embeddedRig()
    await fresh.open()
    await fresh.store.close()
    await withFormat1(async (rig) => {
      await rig.open()
      await rig.store.close()
      assert.deepEqual(tablesOf(rig.path), tablesOf(fresh.path))
      const db = new DatabaseSync(join(rig.path, 'store.db'), { readOnly: true })
      assert.equal(db.prepare('PRAGMA auto_vacuum').get()?.['auto_vacuum'], 2)
      db.close()
      await rig.open()
    })
    await fresh.open()
    await fresh.dispose()
  })

  it('is as it was when the upgrade fails in the middle', async () => {
    await withFormat1(async (rig) => {
      const db = new DatabaseSync(join(rig.path, 'store.db'))
      // A table of that name is in the way of the last step.
      db.exec('CREATE TABLE blocked_keys (x)')
      db.close()
      const before = tablesOf(rig.path)
      await assert.rejects(rig.open(), StoreOpenError)
      assert.equal(formatOf(rig.path), 1)
      assert.deepEqual(tablesOf(rig.path), before)
      const repaired = new DatabaseSync(join(rig.path, 'store.db'))
      repaired.exec('DROP TABLE blocked_keys')
      repaired.close()
      await rig.open()
      assert.equal((await rig.lease()).length, 3)
    })
  })

  it('is backed up and restored in its own format: the way back', async () => {
    await withFormat1(async (rig) => {
      const backup = join(rig.path, '..', 'backup')
      const back = join(rig.path, '..', 'back')
      assert.deepEqual(verifyFolder(rig.path).problems, [])
      assert.equal(backupFolder(rig.path, backup, 0).format, 1)
      await rig.open()
      await rig.store.close()
      assert.equal(formatOf(rig.path), 2)
      assert.ok(restoreBackup(backup, back, rig.clock.now()).ok)
      assert.equal(formatOf(back), 1)
      assert.ok(!existsSync(join(back, 'backup.json')))
      const db = new DatabaseSync(join(back, 'store.db'), { readOnly: true })
      assert.ok(Number(db.prepare("SELECT value FROM meta WHERE name = 'generation'").get()?.['value']) > 1000)
      db.close()
      const again = new EmbeddedRig(back)
      await again.open()
      assert.equal((await again.lease()).length, 3)
      await again.dispose()
      await rig.open()
    })
  })
})
