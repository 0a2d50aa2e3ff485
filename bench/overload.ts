/**
 * Three times the load that the servers bear, and what is left then of what they do: how much is served, how soon, how soon the others are told,
 * and how long it takes until all is as before. The same for every arm, one after the other.
 */
import process from 'node:process'
import path from 'node:path'
import { OVERLOAD_ARMS } from './overload/arms.ts'
import { CAPACITY, type Crowd, type CrowdNote, type Seen, WORK_MS } from './overload/crowd-main.ts'
import { cpuMicros, findProgram, rssBytes, type Started, startPinned, workFolder } from './machine.ts'
import type { BenchOptions } from './options.ts'

export interface OverloadRun extends Seen {
  readonly arm: string
  readonly round: number
  readonly void: boolean
  /** Of one core, in calm times and under the load. */
  readonly cpuCalm: number
  readonly cpuLoad: number
  readonly rssCalm: number
  /** The highest of each third of the overload. */
  readonly rssThirds: readonly [number, number, number]
}

/** Of capacity. */
export const CALM = 0.5
export const LOAD = 3
/** An overload is so many times as long as a run of the other benchmarks: 30 s. */
const RUNS_LONG = 6
const MEMORY_EVERY_MS = 250
const CALM_P99_MAX_MS = 1.5 * WORK_MS

/** Servers and clients, in their process. */
class CrowdProcess {
  readonly started: Started
  #listener: (note: CrowdNote) => void = () => undefined

  constructor(options: BenchOptions) {
    const main = path.join(import.meta.dirname, 'overload', 'crowd-main.ts')
    this.started = startPinned(options.loadCores, process.execPath, [main], { channel: true })
    this.started.process.on('message', (note: CrowdNote) => this.#listener(note))
  }

  /** Rejects when it dies. */
  next<T>(pick: (note: CrowdNote) => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const died = (): void => reject(new Error(`the clients died: ${this.started.output()}`))
      this.started.process.once('exit', died)
      this.#listener = (note) => {
        const found = pick(note)
        if (found === undefined) return
        this.started.process.off('exit', died)
        resolve(found)
      }
    })
  }

  async run(crowd: Crowd, onPhase: (phase: 'calm' | 'load' | 'after') => void): Promise<Seen> {
    this.started.process.send(crowd)
    return this.next((note) => {
      if ('phase' in note) onPhase(note.phase)
      return 'seen' in note ? note.seen : undefined
    })
  }
}

/** What the proxy's process takes while the clients come. */
class Costs {
  readonly cpu: Record<'calm' | 'load', number> = { calm: 0, load: 0 }
  rssCalm = 0
  readonly #pid: number
  readonly #rss: number[] = []
  #timer: NodeJS.Timeout | undefined
  #from = { phase: 'calm' as 'calm' | 'load' | 'after', at: 0, cpu: 0 }

  constructor(pid: number) {
    this.#pid = pid
  }

  begin(phase: 'calm' | 'load' | 'after'): void {
    const [at, cpu, before] = [performance.now(), cpuMicros(this.#pid), this.#from]
    if (phase !== 'calm' && before.phase !== 'after') this.cpu[before.phase] = (cpu - before.cpu) / 1000 / (at - before.at)
    this.#from = { phase, at, cpu }
    clearInterval(this.#timer)
    if (phase !== 'load') return
    this.rssCalm = rssBytes(this.#pid)
    this.#timer = setInterval(() => void this.#rss.push(rssBytes(this.#pid)), MEMORY_EVERY_MS)
  }

  end(): void {
    clearInterval(this.#timer)
  }

  get rssThirds(): [number, number, number] {
    const third = Math.ceil(this.#rss.length / 3)
    const highest = (n: number): number => Math.max(...this.#rss.slice(n * third, (n + 1) * third))
    return [highest(0), highest(1), highest(2)]
  }
}

async function measure(name: string, crowdProcess: CrowdProcess, parts: MeasureParts): Promise<OverloadRun> {
  const { options, place, round } = parts
  const arm = await (OVERLOAD_ARMS[name] as (typeof OVERLOAD_ARMS)[string]).start(place)
  const costs = new Costs(arm.started.pid)
  try {
    const loadMs = RUNS_LONG * options.seconds * 1000
    const crowd: Crowd = { url: arm.url, seed: round + 1, calm: CALM, load: LOAD, calmMs: loadMs / 3, loadMs }
    const seen = await crowdProcess.run(crowd, (phase) => costs.begin(phase))
    const { cpu, rssCalm, rssThirds } = costs
    // Where calm times were none the machine had something else to do.
    const isVoid = !(seen.calmP99Ms < CALM_P99_MAX_MS)
    return { arm: arm.name, round, void: isVoid, ...seen, cpuCalm: cpu.calm, cpuLoad: cpu.load, rssCalm, rssThirds }
  } finally {
    costs.end()
    await arm.started.stop('SIGKILL')
  }
}

interface MeasureParts {
  readonly options: BenchOptions
  readonly place: Parameters<(typeof OVERLOAD_ARMS)[string]['start']>[0]
  readonly round: number
}

function figuresOf(run: OverloadRun): string {
  const back = run.backMs === undefined ? 'never back' : `back after ${run.backMs} ms`
  return `${Math.round(run.goodput * CAPACITY)}/s (${(run.goodput * 100).toFixed(0)} %), served p50 ${run.servedP50Ms.toFixed(0)} p99 ${run.servedP99Ms.toFixed(0)} ms (calm p99 ${run.calmP99Ms.toFixed(0)}), refused p50 ${run.refusedP50Ms.toFixed(0)} ms, ${back}`
}

export async function benchOverload(options: BenchOptions): Promise<OverloadRun[]> {
  const folder = workFolder()
  const crowd = new CrowdProcess(options)
  const runs: OverloadRun[] = []
  try {
    const ports = await crowd.next((note) => ('ports' in note ? note.ports : undefined))
    const place = { cores: options.proxyCores, folder: folder.path, ports }
    const names = Object.entries(OVERLOAD_ARMS).filter(([name, { program }]) => {
      if (!options.arms.some((arm) => name.startsWith(arm))) return false
      const isThere = program === undefined || findProgram(program) !== undefined
      if (!isThere) options.say(`${name}: not installed, skipped (Debian package ${program})`)
      return isThere
    })
    for (let round = 1; round <= options.rounds; round++) {
      for (const [name] of names) {
        const run = await measure(name, crowd, { options, place, round })
        options.say(`overload round ${round} ${run.arm}: ${run.void ? 'VOID ' : ''}${figuresOf(run)}`)
        runs.push(run)
      }
    }
  } finally {
    await crowd.started.stop()
    folder.remove()
  }
  return runs
}
