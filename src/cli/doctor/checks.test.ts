import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { PoolConfig } from '../../config/config.ts'
import { judgeClock } from './clock.ts'
import { within } from './examine.ts'
import { type Finding, findingsText, latencyText, sizeText } from './finding.ts'
import { checkBacklog, checkDescriptors, checkMemory, checkNode, descriptorsWanted } from './machine.ts'
import { checkFileSystem, checkRoom } from './store-folder.ts'
import { judgeSync, measureSync } from './sync-probe.ts'

const MIB = 1024 * 1024
const level = ({ level: found, todo }: Finding): string => `${found}${todo === undefined ? '' : ' todo'}`

describe('store folder', () => {
  test('file systems that keep promises pass, others are told by what is lost', () => {
    const found = (type: number): string => level(checkFileSystem({ type, path: '/data' }))
    assert.equal(found(0xef53), 'ok')
    assert.equal(found(0x58465342), 'ok')
    assert.equal(found(0x1234), 'ok', 'an unknown one is not blamed')
    assert.equal(found(0x6969), 'fail todo', 'NFS')
    // As a signed number, which is how some systems give it.
    assert.equal(found(0xff534d42 | 0), 'fail todo', 'CIFS')
    assert.equal(found(0x01021994), 'warn todo', 'tmpfs')
    assert.equal(found(0x794c7630), 'warn todo', 'overlay')
    assert.equal(found(0x65735546), 'warn todo', 'FUSE')
  })

  test('free space is judged by the reserve, and by what the queues may hold', () => {
    const found = (freeMib: number, queuesMib = 0): string =>
      level(checkRoom({ type: 0, freeBytes: freeMib * MIB, floorBytes: 64 * MIB, path: '/data' }, queuesMib * MIB))
    assert.deepEqual([found(63), found(64), found(255), found(256)], ['fail todo', 'warn todo', 'warn todo', 'ok'])
    assert.deepEqual([found(1000, 1000), found(1000, 1001)], ['ok', 'note todo'])
  })
})

describe('sync', () => {
  test('slow, stalling and too good to be true', () => {
    const found = (medianMs: number, worstMs: number): string => level(judgeSync({ medianMs, worstMs, count: 48 }))
    assert.deepEqual([found(24, 499), found(25, 30), found(2, 500), found(0.005, 1)], ['ok', 'warn todo', 'warn todo', 'note todo'])
    assert.match(judgeSync({ medianMs: 5, worstMs: 9, count: 48 }).says, /at most 200 accepted jobs\/s/)
  })

  test('is measured, and nothing of it is left', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-sync-'))
    try {
      const { count, medianMs, worstMs } = await measureSync(folder)
      assert.ok(count > 0 && medianMs > 0 && worstMs >= medianMs)
      assert.deepEqual(readdirSync(folder), [])
    } finally {
      rmSync(folder, { recursive: true })
    }
    await assert.rejects(measureSync(join(folder, 'gone')), { code: 'ENOENT' })
  })
})

describe('machine', () => {
  const pool = { servers: [{}, {}], maxInFlight: 50, maxTunnels: 10 } as unknown as PoolConfig
  const config = { limits: { connections: 1000 } as never, pools: [pool] }

  test('descriptors for all limits at once', () => {
    // Clients, two servers' requests, their tunnels, and our own.
    assert.equal(descriptorsWanted(config), 1000 + 100 + 20 + 160)
    assert.equal(descriptorsWanted({ ...config, limits: { connections: 15 } as never }), 15 + 100 + 15 + 160)
    const open = { ...pool, registration: { max: 3 } } as unknown as PoolConfig
    assert.equal(descriptorsWanted({ ...config, pools: [open] }), 1000 + 250 + 50 + 160, 'and three that may register')
    const found = (limit: number): string => level(checkDescriptors(config, limit))
    assert.deepEqual([found(1160), found(1161), found(1279), found(1280)], ['warn todo', 'note todo', 'note todo', 'ok'])
    assert.deepEqual([found(Number.POSITIVE_INFINITY), found(Number.NaN)], ['ok', 'note'])
  })

  test('memory for buffered bodies and the gateway itself', () => {
    const found = (limitMib: number): string => level(checkMemory(256 * MIB, limitMib * MIB))
    assert.deepEqual([found(447), found(448)], ['warn todo', 'ok'])
    assert.equal(level(checkMemory(1, undefined)), 'note')
  })

  test('the kernel and Node', () => {
    assert.deepEqual(
      [128, 4095, 4096, undefined].map((value) => level(checkBacklog(value))),
      ['note todo', 'note todo', 'ok', 'note'],
    )
    assert.deepEqual(
      ['22.3.0', '24.11.9', '24.12.0', '26.0.0'].map((version) => level(checkNode(version))),
      ['fail todo', 'fail todo', 'ok', 'ok'],
    )
  })

  test('the clock: a year that cannot be, a jump, and what nobody tells', () => {
    const now = Date.UTC(2026, 5)
    const found = (facts: Partial<Parameters<typeof judgeClock>[0]>): string =>
      level(judgeClock({ now, driftMs: 0, synchronised: true, ...facts }))
    assert.equal(found({}), 'ok')
    assert.equal(found({ now: 0 }), 'fail todo')
    assert.equal(found({ now: Date.UTC(2101, 0) }), 'fail todo')
    assert.deepEqual([found({ driftMs: -20 }), found({ driftMs: -21 }), found({ driftMs: 21 })], ['ok', 'warn todo', 'warn todo'])
    assert.equal(found({ synchronised: false }), 'warn todo')
    assert.equal(found({ synchronised: undefined }), 'note')
  })
})

test('findings are told worst first, with what to do, and counted', () => {
  const text = findingsText([
    { check: 'a', level: 'ok', says: 'fine' },
    { check: 'bb', level: 'fail', says: 'broken', todo: 'mend it' },
    { check: 'a', level: 'note', says: 'known' },
  ])
  assert.equal(text, 'fail  bb  broken\n          -> mend it\nnote  a   known\nok    a   fine\n\n1 fail, 1 note, 1 ok\n')
})

test('a check that hangs or breaks is told, and does not hold up the others', async () => {
  const fine: Finding = { check: 'x', level: 'ok', says: 'fine' }
  assert.deepEqual(await within('x', Promise.resolve([fine]), 60_000), [fine])
  const [hung] = await within('x', new Promise(() => undefined), 1)
  assert.deepEqual([hung?.level, hung?.says], ['warn', 'unknown: no result within 1 ms; the disk or the network hangs'])
  const [broken] = await within('x', Promise.reject(new Error('EIO')), 60_000)
  assert.deepEqual([broken?.level, broken?.says], ['warn', 'unknown: EIO'])
})

test('sizes and latencies are told shortly', () => {
  assert.deepEqual([0, 1023, 1024, 1536, 150 * MIB, 5 * 1024 ** 4].map(sizeText), ['0 B', '1023 B', '1 KiB', '1.5 KiB', '150 MiB', '5 TiB'])
  assert.deepEqual([0, 0.0377, 2.14, 9.99, 10.4, 700].map(latencyText), ['0 ms', '0.038 ms', '2.1 ms', '10 ms', '10 ms', '700 ms'])
})
