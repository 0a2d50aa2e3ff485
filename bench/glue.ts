/**
 * "Now or later" as we do it, beside what teams write by hand: an Express app with BullMQ on a Redis that syncs each write. In one run, in turns:
 * the 202 alone, the whole life of jobs whose server answers at once, and the latency of the way when there is nothing else to do.
 */
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { startOrigin } from './arms.ts'
import { installClients } from './brokers/install.ts'
import { type GlueArm, type GlueArmName, GLUE_ARMS, startGlueArm } from './glue/arms.ts'
import { busySyncs, type Latency, measureLatency, ProbeServer } from './glue/latency.ts'
import { workFolder } from './machine.ts'
import type { BenchOptions } from './options.ts'
import { isVoid, runWrk } from './wrk.ts'

export type GlueWhat = '202' | 'life' | 'latency'

export interface GlueRun {
  readonly arm: GlueArmName
  readonly what: GlueWhat
  readonly round: number
  readonly void: boolean
  readonly perSecond?: number
  readonly cpuUsEach?: number
  readonly p99Ms?: number
  readonly latency?: Latency
  /** Of this disk kept busy, just before. */
  readonly busySyncMs?: readonly number[]
}

const BODY_BYTES = 200
const LATENCY_JOBS_PER_SECOND = 40

interface Measured {
  readonly name: GlueArmName
  readonly arm: GlueArm
  readonly round: number
  readonly seconds: number
  readonly options: BenchOptions
}

async function throughput({ name, arm, round, seconds, options }: Measured, what: '202' | 'life'): Promise<GlueRun> {
  const before = await arm.counts()
  const cpuBefore = arm.cpuMicros()
  const began = performance.now()
  const url = arm.url + (what === '202' ? '/parked' : '/work')
  const wrk = await runWrk({
    core: options.loadCores,
    connections: options.connections,
    seconds,
    url,
    method: 'POST',
    bodyBytes: BODY_BYTES,
  })
  let now = await arm.counts()
  while (what === 'life' && now.unfinished > 0) {
    await new Promise((resolve) => setTimeout(resolve, 250))
    now = await arm.counts()
  }
  const tookMs = performance.now() - began
  const cpu = arm.cpuMicros() - cpuBefore
  // Calls that wrk had open when it stopped were accepted all the same: the arm's own count is the true one.
  const count = what === '202' ? now.parked - before.parked : now.succeeded - before.succeeded
  return {
    arm: name,
    what,
    round,
    void: isVoid(wrk) || count < wrk.requests || now.failed > before.failed,
    perSecond: what === 'life' ? (count * 1000) / tookMs : (wrk.requests * 1e6) / wrk.durationUs,
    cpuUsEach: cpu / Math.max(1, count),
    p99Ms: wrk.p99Us / 1000,
  }
}

async function latency({ name, arm, round, seconds }: Measured, probe: ProbeServer, folder: string): Promise<GlueRun> {
  const jobs = Math.ceil(seconds * LATENCY_JOBS_PER_SECOND)
  const busySyncMs = busySyncs(folder, jobs)
  return { arm: name, what: 'latency', round, void: false, latency: await measureLatency(arm.url, probe, jobs, folder), busySyncMs }
}

function figuresOf({ perSecond, cpuUsEach, latency: ways, busySyncMs = [] }: GlueRun): string {
  if (ways === undefined) return `${Math.round(perSecond ?? 0)}/s, ${(cpuUsEach ?? 0).toFixed(1)} µs each`
  const p50 = (values: readonly number[]): string => quantile(values, 0.5).toFixed(2)
  return `to the server p50 ${p50(ways.toServerMs)} ms, to the event p50 ${p50(ways.toEventMs)} ms, one sync ${p50(ways.syncMs)} ms (busy ${p50(busySyncMs)})`
}

export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN
}

export async function benchGlue(options: BenchOptions): Promise<GlueRun[]> {
  installClients(options.say)
  const folder = workFolder()
  const probe = new ProbeServer()
  const stops: (() => Promise<void> | void)[] = [() => probe.close()]
  const runs: GlueRun[] = []
  try {
    const origin = await startOrigin(options.loadCores, folder.path)
    stops.unshift(() => origin.started.stop())
    const place = { cores: options.proxyCores, originPort: Number(new URL(origin.url).port), probePort: await probe.listen() }
    const arms = new Map<GlueArmName, GlueArm>()
    for (const name of GLUE_ARMS) {
      const own = path.join(folder.path, name)
      mkdirSync(own)
      const arm = await startGlueArm(name, { ...place, folder: own })
      stops.unshift(() => arm.stop())
      arms.set(name, arm)
    }
    for (let round = 0; round <= options.rounds; round++) {
      for (const [name, arm] of arms) {
        const measured: Measured = { name, arm, round, options, seconds: round === 0 ? options.warmUpSeconds : options.seconds }
        const others = [...arms.values()].filter((other) => other !== arm)
        for (const other of others) other.rest('SIGSTOP')
        const results = [await throughput(measured, '202'), await throughput(measured, 'life'), await latency(measured, probe, folder.path)]
        for (const other of others) other.rest('SIGCONT')
        for (const run of results) {
          options.say(`glue ${round === 0 ? 'warm-up' : `round ${round}`} ${name} ${run.what}: ${run.void ? 'VOID ' : ''}${figuresOf(run)}`)
          if (round > 0) runs.push(run)
        }
      }
    }
  } finally {
    for (const stop of stops) await stop()
    folder.remove()
  }
  return runs
}
