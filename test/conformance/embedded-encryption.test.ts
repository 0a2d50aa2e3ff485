/** A store whose requests and answers are encrypted: the same contract, nothing readable in its files, keys that come and go. */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { openEmbeddedStore } from '../../src/engines/embedded/embedded-store.ts'
import { verifyFolder } from '../../src/engines/embedded/offline-work.ts'
import { rekey } from '../../src/engines/embedded/rekey.ts'
import { StoreOpenError } from '../../src/engines/embedded/store-open-error.ts'
import { Sealer, type SealingKey } from '../../src/engines/ledger/sealed.ts'
import { openMemoryStore } from '../../src/engines/memory/memory-store.ts'
import { systemRandom } from '../../src/ports/system.ts'
import { makeBusy } from '../support/busy-store.ts'
import { tempFolder } from './embedded-rig.ts'
import { groupsFor, jobStoreConformance } from './job-store.ts'
import { ANSWER, newJob, Rig, type StoreSource } from './rig.ts'

const [A, B] = ['a', 'b'].map((id): SealingKey => ({ id, secret: Buffer.alloc(32, id) })) as [SealingKey, SealingKey]

function encrypted(path: string, keys: () => readonly SealingKey[]): StoreSource {
  return {
    open: (options) => {
      const all = keys()
      return openEmbeddedStore({ ...options, path, random: systemRandom, ...(all.length > 0 && { encryption: { keys: all } }) })
    },
    dispose: () => rmSync(path, { recursive: true, force: true }),
  }
}

const inMemory: StoreSource = {
  open: async (options) => openMemoryStore({ ...options, random: systemRandom, encryption: { keys: [A] } }),
  dispose: () => undefined,
}
jobStoreConformance('memory, encrypted', () => inMemory, groupsFor(false))

interface Place {
  readonly rig: Rig
  readonly path: string
  keys: readonly SealingKey[]
}

function withKeys(name: string, run: (place: Place) => Promise<void>): void {
  it(name, async () => {
    const { path } = tempFolder()
    const place: Place = { path, keys: [A], rig: new Rig(encrypted(path, () => place.keys)) }
    try {
      await place.rig.open()
      await run(place)
      assert.deepEqual(place.rig.fatal, [])
    } finally {
      await place.rig.dispose()
    }
  })
}

function allBytes(path: string): Buffer {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
  return Buffer.concat(files.map(({ parentPath, name }) => readFileSync(join(parentPath, name))))
}

describe('an encrypted store', () => {
  withKeys('has no body, target or header of requests and answers in its files', async ({ rig, path }) => {
    const words = ['body-of-mine', 'header-of-mine', 'large-of-mine', 'answer-of-mine', 'example.com']
    await rig.submitAll([
      { body: Buffer.from(words[0] ?? ''), headers: ['Host', 'example.com', 'X', words[1] ?? ''] },
      { body: Buffer.alloc(300_000, words[2]) },
    ])
    const leases = await rig.lease()
    assert.deepEqual(
      leases.map(({ request }) => Buffer.from(request.body).toString().slice(0, 12)),
      ['body-of-mine', 'large-of-min'],
    )
    for (const { ref } of leases) await rig.succeed(ref, { ...ANSWER, body: Buffer.from(words[3] ?? '') })
    await rig.submit({ body: Buffer.alloc(300_000, words[2]) })
    await rig.store.close()
    const bytes = allBytes(path)
    for (const word of words) assert.ok(!bytes.includes(word), word)
    // The canary: what is not encrypted is found.
    assert.ok(bytes.includes('POST /reports'))
    assert.deepEqual(verifyFolder(path).problems, [])
    await rig.open()
  })

  withKeys('takes a new key, reads what the old one wrote, and forgets it after a rekey', async (place) => {
    const { rig, path } = place
    await makeBusy(rig)
    const kept = await rig.submit({ body: Buffer.from('kept') })
    place.keys = [B, A]
    await rig.reopen()
    assert.equal(Buffer.from((await rig.store.read([kept.id], 'request'))[0]?.request?.body ?? []).toString(), 'kept')
    await rig.store.close()
    const { changed, problems } = rekey(path, new Sealer(place.keys, systemRandom), place.keys)
    assert.deepEqual(problems, [])
    assert.ok(changed > 5)
    assert.deepEqual(verifyFolder(path).problems, [])
    place.keys = [B]
    await rig.open()
    assert.equal(Buffer.from((await rig.store.read([kept.id], 'request'))[0]?.request?.body ?? []).toString(), 'kept')
    for (const { request } of await rig.lease()) assert.equal(request.method, 'POST')
    rig.clock.advance(86_400_000)
    await rig.settleTime()
    assert.equal((await rig.store.schedules())[0]?.made, 1)
    assert.deepEqual(rig.corrupt, [])
    await rig.store.close()
    place.keys = [A]
    await assert.rejects(rig.open(), StoreOpenError)
    place.keys = [B]
    await rig.open()
  })

  withKeys('does not open without a key that something is encrypted with', async (place) => {
    await place.rig.submit()
    await place.rig.store.close()
    for (const keys of [[], [B]]) {
      place.keys = keys
      await assert.rejects(place.rig.open(), /are encrypted with the key a, which is not configured; see store\.encryption\.keys/)
    }
    place.keys = [B, A]
    await place.rig.open()
    assert.equal((await place.rig.lease()).length, 1)
  })

  withKeys(
    'makes a dead letter of a job that cannot be decrypted, says with which key, and runs it when the key is right',
    async (place) => {
      const { rig } = place
      const [job, other] = await rig.submitAll([{}, {}])
      const done = (await rig.leaseOne()).ref
      await rig.succeed(done)
      await rig.store.close()
      place.keys = [{ id: 'a', secret: Buffer.alloc(32, 'x') }]
      await rig.open()
      assert.deepEqual(await rig.lease(), [])
      assert.deepEqual(
        rig.corrupt.map((what) => /cannot be decrypted with the key a/.test(what)),
        [true],
      )
      const dead = await rig.read(other?.id ?? '')
      assert.deepEqual([dead?.status, dead?.dead], ['failed', 'corrupt'])
      const read = await rig.result(job?.id ?? '')
      assert.deepEqual([read?.job.status, read?.job.hasAnswer, read?.answer], ['succeeded', false, undefined])
      await rig.store.close()
      place.keys = [A]
      await rig.open()
      await rig.store.command([{ kind: 'redrive', id: other?.id ?? '' }])
      assert.equal((await rig.leaseOne()).ref.id, other?.id)
      assert.equal((await rig.result(job?.id ?? ''))?.answer?.status, 200)
    },
  )

  withKeys('reads what was stored before it had a key, and encrypts it with the rekey', async (place) => {
    const { rig, path } = place
    await rig.store.close()
    rmSync(path, { recursive: true })
    place.keys = []
    await rig.open()
    await rig.store.submit([newJob({ body: Buffer.from('plain-of-mine') })])
    place.keys = [A]
    await rig.reopen()
    await rig.store.close()
    assert.ok(allBytes(path).includes('plain-of-mine'))
    assert.equal(rekey(path, new Sealer([A], systemRandom), [A]).changed, 1)
    assert.equal(rekey(path, new Sealer([A], systemRandom), [A]).changed, 0, 'and not twice')
    assert.deepEqual(verifyFolder(path).problems, [])
    await rig.open()
    assert.equal(Buffer.from((await rig.leaseOne()).request.body).toString(), 'plain-of-mine')
  })
})
