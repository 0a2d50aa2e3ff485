/**
 * Crashes in the middle of everything that changes a store: submit, batch, settle, redrive, move, release, sweep, schedule, task, backup.
 * Nothing is lost, invented or brought back, the counters are what a full scan counts, and the file is sound. SOAK=1: 300 rounds instead of 16.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { closeSync, existsSync, fstatSync, mkdtempSync, openSync, readFileSync, readSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { FULL, tellFigures } from '../soak/form.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { DiskModel } from './disk-model.ts'
import { allowedAfter, assertVerified, checkAfterCrash, isOneOf, isWithinReach, type Line } from './operations.ts'
import type { State } from './operations-state.ts'
import { type FileEvent, straceProblem, tracedRun } from './strace.ts'

const SEED = seedOf()
const ROUNDS = FULL ? 300 : 16
const WRITER = join(import.meta.dirname, 'operations-writer.ts')
const BEGIN = Date.UTC(2030, 0, 1)

interface Life {
  readonly seed: number
  /** 0: until it is killed. */
  readonly steps: number
  readonly mode: 'inline' | 'thread' | 'nosync'
  readonly now: number
}

function command(folder: string, { seed, steps, mode, now }: Life): string[] {
  return [process.execPath, '--disable-warning=ExperimentalWarning', WRITER, folder, String(seed), String(steps), mode, String(now)]
}

interface Run {
  readonly kinds: ReadonlySet<string>
  readonly failures: readonly Error[]
}

/** Traces one life of a store and cuts its power at `cuts` moments. */
async function cutPower(seed: number, cuts: number, mode: 'inline' | 'nosync'): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-operations-'))
  try {
    const events = await tracedRun(command(join(folder, 'run'), { seed, steps: FULL ? 900 : 300, mode, now: BEGIN }), folder)
    return await replay(events, folder, new SeededRandom(seed), cuts)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function replay(events: readonly FileEvent[], folder: string, random: SeededRandom, cuts: number): Promise<Run> {
  const disk = new DiskModel()
  const store = join(folder, 'run', 'store')
  const lines = readLines(join(folder, 'run', 'answers')) as Line[]
  const states = readLines(join(folder, 'run', 'states')) as State[]
  const moments = pickMoments(events, { store, lines, random, cuts })
  const failures: Error[] = []
  const kinds = new Set<string>()
  let answered = 0
  for (const [at, event] of events.entries()) {
    if (event.path.endsWith('/answers')) answered += event.kind === 'write' ? 1 : 0
    else if (event.path.startsWith(join(store, ''))) disk.apply(event)
    // Before the first answer there may be no store yet.
    if (!moments.has(at) || answered === 0) continue
    const underWay = lines[answered]
    if (underWay !== undefined) kinds.add(underWay.name)
    const copy = join(folder, 'cut')
    disk.rebuild(store, copy, random)
    try {
      const allowed = allowedAfter(lines.slice(0, answered), underWay)
      const last = states[answered - 1] ?? []
      await checkAfterCrash({ path: copy, now: lines[answered - 1]?.now ?? BEGIN, check: (state) => isOneOf(state, allowed, last) })
    } catch (error) {
      failures.push(new Error(`event ${at}, in the middle of ${underWay?.name ?? 'nothing'}`, { cause: error }))
    }
  }
  return { kinds, failures }
}

interface Choice {
  readonly store: string
  readonly lines: readonly Line[]
  readonly random: SeededRandom
  readonly cuts: number
}

/** As many in the middle of each kind of operation, as far as they write anything. */
function pickMoments(events: readonly FileEvent[], { store, lines, random, cuts }: Choice): ReadonlySet<number> {
  const byKind = new Map<string, number[]>()
  let answered = 0
  for (const [at, { path, kind }] of events.entries()) {
    if (path.endsWith('/answers')) answered += kind === 'write' ? 1 : 0
    const name = lines[answered]?.name
    if (!path.startsWith(join(store, '')) || name === undefined || answered === 0) continue
    byKind.set(name, [...(byKind.get(name) ?? []), at])
  }
  const moments = new Set<number>()
  while (moments.size < cuts) for (const some of byKind.values()) if (moments.size < cuts) moments.add(random.pick(some))
  return moments
}

function readLines(path: string): unknown[] {
  const text = readFileSync(path, 'utf8')
  // The last line may be cut off.
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as unknown)
}

/** One life, killed after a while; the next one goes on in the same folder. */
async function liveAndDie(folder: string, random: SeededRandom, now: number, answers: LineCounter): Promise<void> {
  const [program = '', ...args] = command(folder, { seed: random.integer(1e9), steps: 0, mode: 'thread', now })
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const exited = new Promise((resolve) => child.on('exit', resolve))
  const wanted = answers.count() + 20 + random.integer(120)
  while (child.exitCode === null && answers.count() < wanted) await new Promise((resolve) => setTimeout(resolve, 5))
  // Anywhere in the operation that follows.
  await new Promise((resolve) => setTimeout(resolve, random.integer(4)))
  child.kill('SIGKILL')
  await exited
  assert.equal(child.signalCode, 'SIGKILL', 'it lived until it was killed')
}

/** Those that look whole. */
function backupsIn(folder: string): readonly string[] {
  const backups = join(folder, 'backups')
  return readdirSync(backups)
    .filter((name) => !name.endsWith('.partial'))
    .map((name) => join(backups, name))
}

/** Of a file that grows, and may lose what stands behind its last line. */
class LineCounter {
  readonly #path: string
  #at = 0
  #lines = 0
  /** The last whole line. */
  last = '[]'

  constructor(path: string) {
    this.#path = path
  }

  count(): number {
    if (!existsSync(this.#path)) return 0
    const file = openSync(this.#path, 'r')
    const more = Buffer.alloc(Math.max(0, fstatSync(file).size - this.#at))
    const read = readSync(file, more, 0, more.length, this.#at)
    closeSync(file)
    let from = 0
    for (let at = more.indexOf(10); at >= 0 && at < read; at = more.indexOf(10, at + 1)) {
      this.#lines++
      this.last = more.toString('utf8', from, at)
      from = at + 1
    }
    // Never beyond a line that may be cut off.
    this.#at += more.subarray(0, read).lastIndexOf(10) + 1
    return this.#lines
  }
}

async function killOften(seed: number, rounds: number): Promise<ReadonlySet<string>> {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-operations-kill-'))
  const random = new SeededRandom(seed)
  const answers = new LineCounter(join(folder, 'answers'))
  // A whole store in each line: after some hundred lives it is too much to read again.
  const states = new LineCounter(join(folder, 'states'))
  const kinds = new Set<string>()
  let now = BEGIN
  let unanswered = 0
  try {
    for (let round = 0; round < rounds; round++) {
      await liveAndDie(folder, random, now, answers)
      const lines = readLines(join(folder, 'answers')) as (Line & { readonly begins?: string })[]
      const underWay = lines.at(-1)?.begins
      if (underWay !== undefined) kinds.add(underWay)
      const told = states.count()
      const last = JSON.parse(states.last) as State
      const answered = lines.filter(({ begins }) => begins === undefined)
      now = (answered.at(-1)?.now ?? now) + 1000
      // A state is written before its answer: one more without an answer is of the operation that was under way.
      const during = told - answered.length > unanswered ? undefined : underWay
      unanswered = told - answered.length
      await checkAfterCrash({ path: join(folder, 'store'), now, check: (state) => isWithinReach(state, last, during) })
      for (const backup of backupsIn(folder)) assertVerified(backup)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  return kinds
}

const skip = straceProblem() ?? false

it(`a power cut in the middle of anything leaves one of the last states, whole (SEED=${SEED})`, { skip, timeout: 1_200_000 }, async (t) => {
  const { failures, kinds } = await cutPower(SEED, ROUNDS, 'inline')
  for (const kind of ['submit', 'batch', 'settle', 'redrive', 'move', 'sweep']) assert.ok(kinds.has(kind), `one in the middle of ${kind}`)
  tellFigures(t, `${ROUNDS} power cuts, in the middle of: ${[...kinds].sort().join(', ')}`)
  if (failures.length > 0) throw new AggregateError(failures, `SEED=${SEED}: ${failures.length} of ${ROUNDS} cuts`, { cause: failures[0] })
})

it(`a kill in the middle of anything does, too, life after life (SEED=${SEED})`, { timeout: 3_600_000 }, async (t) => {
  const kinds = await killOften(SEED, ROUNDS)
  tellFigures(t, `${ROUNDS} kills, in the middle of: ${[...kinds].sort().join(', ')}`)
})

it('a store that does not sync is found out', { skip, timeout: 600_000 }, async () => {
  const { failures } = await cutPower(SEED, 30, 'nosync')
  assert.ok(failures.length > 0, `SEED=${SEED}: 30 cuts of a store that never synced broke no promise`)
})
