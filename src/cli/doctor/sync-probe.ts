/** How long this disk takes to keep what it is given: what every accepted job waits for. Measured, in the store's own folder, and cleaned up. */
import { randomBytes } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Config } from '../../config/config.ts'
import type { Bytes, Millis } from '../../lib/units.ts'
import { SLOW_SYNC_MS } from '../../telemetry/store-events.ts'
import { type Finding, latencyText } from './finding.ts'
import { existingFolder } from './store-folder.ts'

const WRITES = 48
/** A page of the store. */
const WRITE_BYTES: Bytes = 4096
/** On a disk that takes seconds for each, a few say enough. */
const BUDGET_MS: Millis = 3000
const SLOW_MEDIAN_MS: Millis = 25
/** No device keeps anything that fast: what says so has only been told to say so. */
const TOO_GOOD_MS: Millis = 0.01

export interface SyncTimes {
  readonly medianMs: Millis
  readonly worstMs: Millis
  readonly count: number
}

export async function checkSync({ store }: Config): Promise<readonly Finding[]> {
  if (store.engine === 'memory') return []
  const folder = await existingFolder(store.path)
  try {
    return [judgeSync(await measureSync(folder))]
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    return [
      {
        check: 'sync',
        level: 'fail',
        says: `nothing can be written and synced in ${folder}: ${code}`,
        todo: 'make room, or change its rights',
      },
    ]
  }
}

export async function measureSync(folder: string): Promise<SyncTimes> {
  const path = join(folder, `.doctor-${process.pid}-${randomBytes(4).toString('hex')}`)
  const times: Millis[] = []
  const file = await open(path, 'wx', 0o600)
  try {
    const page = randomBytes(WRITE_BYTES)
    const endsAt = performance.now() + BUDGET_MS
    for (let i = 0; i < WRITES && performance.now() < endsAt; i++) {
      const begunAt = performance.now()
      await file.write(page, 0, WRITE_BYTES, i * WRITE_BYTES)
      await file.datasync()
      times.push(performance.now() - begunAt)
    }
  } finally {
    await file.close()
    await rm(path, { force: true })
  }
  times.sort((a, b) => a - b)
  return { medianMs: times[times.length >> 1] ?? 0, worstMs: times.at(-1) ?? 0, count: times.length }
}

export function judgeSync({ medianMs, worstMs, count }: SyncTimes): Finding {
  const check = 'sync'
  const perSecond = Math.max(1, Math.round(1000 / Math.max(medianMs, 0.001)))
  const figures = `${count} writes with sync: median ${latencyText(medianMs)}, worst ${latencyText(worstMs)}`
  const meaning = `a client alone gets at most ${perSecond} accepted jobs/s, clients at the same time share a sync`
  if (medianMs >= SLOW_MEDIAN_MS) {
    const todo = 'every 202 waits for one: use a faster disk, or see who else writes to this one'
    return { check, level: 'warn', says: `${figures}; ${meaning}`, todo }
  }
  if (worstMs >= SLOW_SYNC_MS) {
    return { check, level: 'warn', says: `${figures}: it stalls now and then`, todo: 'see who else writes to this disk (iostat -x 1)' }
  }
  if (medianMs < TOO_GOOD_MS) {
    const todo = 'if this is a disk, its syncs are switched off somewhere: what a power cut leaves is not promised then'
    return { check, level: 'note', says: `${figures}: faster than a disk can be`, todo }
  }
  return { check, level: 'ok', says: `${figures}; ${meaning}` }
}
