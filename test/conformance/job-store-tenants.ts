/** Tenants of one queue: they take turns, job by job, whatever each of them has waiting. */
import assert from 'node:assert/strict'
import { addBucket } from '../../src/core/jobs/buckets.ts'
import type { StoredJob } from '../../src/ports/job-store.ts'
import type { Cases } from './job-store.ts'
import { LEASE_MS, type JobOptions, type Rig } from './rig.ts'

/** One character for each job: its tenant. */
async function submitFor(rig: Rig, tenants: string, options: JobOptions = {}): Promise<readonly StoredJob[]> {
  return rig.submitAll(Array.from(tenants, (tenant) => (tenant === '-' ? options : { ...options, tenant })))
}

async function turns(rig: Rig, max = 100): Promise<string> {
  return (await rig.lease({ max })).map(({ job }) => job.tenant ?? '-').join('')
}

export const tenantCases: Cases = {
  async 'tenants take turns, job by job'(rig) {
    await submitFor(rig, 'aaaaabbbcc')
    assert.equal(await turns(rig), 'abcabcabaa')
  },

  async 'a turn that was begun goes on in the next lease'(rig) {
    await submitFor(rig, 'aaaabbbbcccc')
    const all: string[] = []
    for (let n = 0; n < 12; n++) all.push(await turns(rig, 1))
    assert.equal(all.join(''), 'abcabcabcabc')
  },

  async 'who comes later has a turn within one round'(rig) {
    await submitFor(rig, 'aaaaaaaabbbbbbbb')
    assert.equal(await turns(rig, 3), 'aba')
    await submitFor(rig, 'cc')
    const next = await turns(rig, 6)
    assert.ok(next.slice(0, 3).includes('c') && next.slice(3).includes('c'), next)
  },

  async 'who is alone has all the turns'(rig) {
    await submitFor(rig, 'aaaa')
    assert.equal(await turns(rig), 'aaaa')
    await submitFor(rig, 'bbb')
    assert.equal(await turns(rig), 'bbb')
  },

  async 'jobs of no tenant are as those of one more'(rig) {
    await submitFor(rig, '---aaabbb')
    assert.equal(await turns(rig), '-ab-ab-ab')
  },

  async 'of one tenant priority goes first, then age; another tenant’s priority is nothing to it'(rig) {
    const low = await submitFor(rig, 'aa', { priority: 0 })
    const high = await submitFor(rig, 'a', { priority: 9 })
    const other = await submitFor(rig, 'bb', { priority: 1 })
    assert.deepEqual(
      await rig.leaseIds(),
      [high[0], other[0], low[0], other[1], low[1]].map((job) => job?.id),
    )
  },

  async 'a server takes turns among those who have jobs for it'(rig) {
    const jobs = await submitFor(rig, 'ab'.repeat(60))
    const buckets = new Uint8Array(32)
    for (const { bucket } of jobs.filter((_, n) => n % 5 === 0)) addBucket(buckets, bucket)
    const order = (await rig.lease({ buckets, max: 10 })).map(({ job }) => job.tenant).join('')
    assert.match(order, /^(ab)+a?$|^(ba)+b?$/)
    const stolen = await rig.lease({ buckets: new Uint8Array(32), stealUnkeyed: true, max: 6 })
    assert.match(stolen.map(({ job }) => job.tenant).join(''), /^(ab)+$|^(ba)+$/)
  },

  async 'a key is in order of acceptance, whosever its jobs are'(rig) {
    const jobs = await submitFor(rig, 'abba', { key: 'k' })
    for (const job of jobs) {
      const { ref } = await rig.leaseOne({ max: 9 })
      assert.equal(ref.id, job.id)
      await rig.succeed(ref)
    }
  },

  async 'as many jobs of a tenant run as may, and not one more; others go on'(rig) {
    await rig.configure({ tenantMaxRunning: 2 })
    await submitFor(rig, 'aaaabbb---')
    assert.equal((await turns(rig)).split('').toSorted().join(''), '---aabb')
    assert.deepEqual(await rig.lease(), [])
    assert.equal((await rig.stats()).counts.queued, 3)
  },

  async 'one of his that no longer runs lets his next go, however it ended, and that is told'(rig) {
    await rig.configure({ tenantMaxRunning: 1 })
    await submitFor(rig, 'a'.repeat(8), { attempts: 9 })
    const next = async (): Promise<Awaited<ReturnType<Rig['leaseOne']>>> => {
      const lease = await rig.leaseOne({ max: 9 })
      assert.deepEqual(await rig.lease(), [], 'one at a time')
      return lease
    }
    const ends: ((lease: Awaited<ReturnType<Rig['leaseOne']>>) => Promise<unknown>)[] = [
      ({ ref }) => rig.succeed(ref),
      ({ ref }) => rig.fail(ref),
      ({ ref }) => rig.retry(ref, 50_000),
      ({ ref }) => rig.handBack(ref, 50_000),
      ({ ref }) => rig.cancel(ref.id),
    ]
    for (const [n, end] of ends.entries()) {
      await end(await next())
      assert.deepEqual((await rig.store.tick()).ready, ['q'], `end ${n}`)
    }
    await next()
    assert.deepEqual((await rig.pass(LEASE_MS)).ready, ['q'], 'a lease that lapsed')
    await next()
  },

  async 'the limit is of one queue'(rig) {
    await rig.configure({ tenantMaxRunning: 1 })
    await submitFor(rig, 'a')
    await submitFor(rig, 'aa', { queue: 'other' })
    assert.equal((await rig.lease()).length, 1)
    assert.equal((await rig.lease({ queue: 'other' })).length, 2)
  },

  async 'a higher limit is told, and holds at once'(rig) {
    await rig.configure({ tenantMaxRunning: 1 })
    await submitFor(rig, 'aaa')
    assert.equal(await turns(rig), 'a')
    await rig.configure({ tenantMaxRunning: 2 })
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    assert.equal(await turns(rig), 'a')
    await rig.configure({})
    assert.deepEqual((await rig.store.tick()).ready, ['q'])
    assert.equal(await turns(rig), 'a')
  },

  async 'a lower limit ends nothing that runs'(rig) {
    await submitFor(rig, 'aaaa')
    const leases = await rig.lease({ max: 3 })
    await rig.configure({ tenantMaxRunning: 2 })
    await rig.succeed(leases[0]?.ref ?? assert.fail())
    assert.deepEqual(await rig.lease(), [], 'two still run')
    await rig.succeed(leases[1]?.ref ?? assert.fail())
    assert.equal((await rig.lease()).length, 1)
  },

  async 'tenants of any name are kept apart, after a restart too'(rig) {
    const tenants = ['a', 'A', ' ', 'é', '💥', '\ud800', '\ud801', '\ufffd', 'x'.repeat(200)]
    await rig.submitAll([...tenants, ...tenants].map((tenant) => ({ tenant })))
    await rig.restart()
    await rig.configure({ tenantMaxRunning: 1 })
    const leases = await rig.lease()
    assert.deepEqual(leases.map(({ job }) => job.tenant ?? '').toSorted(), tenants.toSorted())
    await rig.restart()
    if (!rig.durable) for (const { ref } of leases) await rig.handBack(ref)
    await rig.configure({ tenantMaxRunning: 1 })
    assert.equal((await rig.lease()).length, tenants.length, 'nobody’s runs any more, each has one again')
    assert.deepEqual(await rig.lease(), [])
  },

  async 'a job that goes to another queue goes with its tenant'(rig) {
    await rig.configure({ tenantMaxRunning: 1 }, {}, 'other')
    const [a, b] = await submitFor(rig, 'aa')
    for (const job of [a, b]) await rig.done({ kind: 'move', id: job?.id ?? '', queue: 'other' })
    assert.equal((await rig.lease({ queue: 'other' })).length, 1)
  },
}
