/**
 * The gateway is killed at random moments, over and over, while clients submit and servers work, and started again on the same folder.
 * Then every promise that it gave must have been kept. SOAK=1: 200 kills instead of 20.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { FULL, tellFigures } from '../soak/form.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { readExecutions } from '../support/work-log.ts'
import { startWorkingServer, type WorkingServer } from '../support/working-server.ts'
import { GatewayLives } from './gateway-lives.ts'
import { type History, violations } from './history.ts'
import { Workload } from './workload.ts'

const SEED = seedOf()
const KILLS = FULL ? 200 : 20
const ACCEPTED_MIN = 1000
const CLIENTS = { keyed: 8, plain: 6, once: 3 }
/** For the store that does not survive: so many are surely lost. */
const ACCEPTED_BEFORE_KILL = 20

interface Run {
  readonly history: History
  readonly refusals: readonly string[]
}

async function run(kills: number, acceptedMin: number, engine: 'embedded' | 'memory' = 'embedded'): Promise<Run> {
  const random = new SeededRandom(SEED)
  const folder = mkdtempSync(join(tmpdir(), 'spillway-kill-'))
  const log = join(folder, 'work.ndjson')
  const servers: WorkingServer[] = []
  try {
    for (let i = 0; i < 3; i++) servers.push(await startWorkingServer({ log, workMs: [2, 40] }))
    const urls = servers.map(({ url }) => url)
    const lives = new GatewayLives(folder, urls, engine)
    const load = new Workload(random, () => lives.url)
    load.start(CLIENTS)
    const accepted = (): boolean => load.accepted.length >= ACCEPTED_BEFORE_KILL
    for (let kill = 0; kill < kills; kill++) await lives.liveAndDie(random, engine === 'memory' ? accepted : undefined)
    await lives.begin()
    await load.stop(acceptedMin)
    await load.allEnded()
    await lives.end()
    return { history: { accepted: load.accepted, lives: lives.all, executions: readExecutions(log) }, refusals: load.refusals }
  } finally {
    await Promise.all(servers.map((server) => server.kill()))
    rmSync(folder, { recursive: true })
  }
}

test(`what was accepted is done, in order, and not done again, however often the gateway is killed (SEED=${SEED})`, {
  timeout: FULL ? 1_800_000 : 240_000,
}, async (t) => {
  const { history, refusals } = await run(KILLS, ACCEPTED_MIN)
  const { accepted, executions, lives } = history
  const inFlight = lives.reduce((sum, { inFlightAtKill }) => sum + (inFlightAtKill?.size ?? 0), 0)
  const extra = executions.length - new Set(executions.map(({ job }) => job)).size
  tellFigures(
    t,
    `${lives.length - 1} kills, ${accepted.length} accepted, ${inFlight} in flight at kills, ${extra} executions more than jobs`,
  )
  assert.deepEqual(violations(history), [], `SEED=${SEED}`)
  assert.deepEqual(refusals, [], 'clients are answered with 202, or not at all')
  assert.ok(accepted.length >= ACCEPTED_MIN && lives.length === KILLS + 1)
  // Otherwise the kills hit nothing and the test shows little.
  assert.ok(extra > 0 && extra <= inFlight, `${extra} extra, ${inFlight} in flight`)
  assert.ok(accepted.filter(({ seenSucceededAt }) => seenSucceededAt !== undefined).length > accepted.length / 20)
})

test('without faults each job runs exactly once', async () => {
  const { history, refusals } = await run(0, 300)
  assert.deepEqual(violations(history), [], `SEED=${SEED}`)
  assert.deepEqual(refusals, [])
  assert.deepEqual(
    history.executions.map(({ job }) => job).sort(),
    history.accepted.map(({ id }) => id).sort(),
    'one execution per accepted job, and none besides',
  )
})

test('a store that does not survive is found out', async () => {
  const { history, refusals } = await run(2, 200, 'memory')
  assert.match(violations(history).join('\n'), /was accepted and is unknown/)
  assert.notDeepEqual(refusals, [])
})
