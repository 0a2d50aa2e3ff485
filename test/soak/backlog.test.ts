/**
 * A backlog of millions: it costs disk, not memory; the store opens as quickly with it, takes and hands out as quickly, and counts as quickly.
 * And what has ended is swept away in steps that nobody feels. The bars on time hold for the full form, alone on its machine.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { FULL, MIB, mib, sized, tellFigures } from './form.ts'

const JOBS = sized([3_000_000, 150_000])
const ENDED = sized([1_000_000, 40_000])
/** The heaps of a young process grow by some megabytes, whatever it does. */
const GROWTH_MAX = sized([100 * MIB, 96 * MIB])
const MAIN = join(import.meta.dirname, 'backlog-main.ts')
const run = promisify(execFile)

async function phase<T>(folder: string, name: string, jobs: number): Promise<T & { readonly openMs: number }> {
  const { stdout } = await run(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, folder, name, String(jobs)])
  return JSON.parse(stdout) as T & { readonly openMs: number }
}

interface Rates {
  readonly submits: number
  readonly leases: number
}

interface Filled {
  readonly empty: Rates
  readonly full: Rates
  readonly grown: number
  readonly perJob: number
  readonly statsMs: number
}

interface Swept {
  readonly removed: number
  readonly left: number
  readonly tookMs: number
  readonly loopDelayP99Ms: number
  readonly submitP99Ms: number
}

/** On the repository's disk: a folder for temporary files may be memory. */
function folderHere(): string {
  return mkdtempSync(join(import.meta.dirname, '..', '..', '.soak-'))
}

test(`${JOBS} queued jobs of 200 bytes`, { timeout: 1_800_000 }, async (t) => {
  const folder = folderHere()
  try {
    const filled = await phase<Filled>(folder, 'fill', JOBS)
    const { empty, full, grown, perJob, statsMs } = filled
    const opened = await phase<{ readonly waiting: number }>(folder, 'open', 0)
    tellFigures(
      t,
      `${JOBS} jobs: RssAnon +${mib(grown)}; ${perJob.toFixed(0)} bytes written each; submits ${empty.submits} -> ${full.submits}/s, ` +
        `leases ${empty.leases} -> ${full.leases}/s; stats ${statsMs.toFixed(2)} ms; opened in ${opened.openMs.toFixed(0)} ms`,
    )
    assert.equal(opened.waiting, JOBS, 'they are all there')
    assert.ok(grown < GROWTH_MAX, `RssAnon grew by ${mib(grown)}`)
    if (!FULL) return
    assert.ok(opened.openMs < 2000, `opening took ${opened.openMs} ms`)
    assert.ok(statsMs < 1, `stats took ${statsMs} ms`)
    assert.ok(full.submits >= 0.7 * empty.submits, 'submits are as quick as with an empty queue')
    assert.ok(full.leases >= 0.7 * empty.leases, 'leases are as quick as with an empty queue')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test(`a sweep of ${ENDED} ended jobs`, { timeout: 1_800_000 }, async (t) => {
  const folder = folderHere()
  try {
    const swept = await phase<Swept>(folder, 'sweep', ENDED)
    const { removed, left, tookMs, loopDelayP99Ms, submitP99Ms } = swept
    tellFigures(
      t,
      `${removed} ended jobs removed in ${(tookMs / 1000).toFixed(1)} s; loop delay p99 ${loopDelayP99Ms.toFixed(1)} ms; submits p99 ${submitP99Ms.toFixed(1)} ms`,
    )
    assert.deepEqual([removed, left], [ENDED, 0], 'all of them are gone')
    if (FULL) assert.ok(loopDelayP99Ms < 20, `loop delay p99 ${loopDelayP99Ms} ms`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
