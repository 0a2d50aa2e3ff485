/**
 * What a durable job costs: the 202 alone (the queue's pool has no server), and the whole life with a server that answers at once,
 * both beside our own direct request with the same body, in the same process and the same round.
 */
import { type GatewayArm, startGateway, startOrigin } from './arms.ts'
import { cpuMicros, workFolder } from './machine.ts'
import { metricSum } from './metrics.ts'
import type { BenchOptions } from './options.ts'
import { isVoid, perSecond, runWrk, type WrkResult } from './wrk.ts'

export const WHATS = ['direct', '202', 'life'] as const
export type What = (typeof WHATS)[number]

export interface QueueRun {
  readonly what: What
  readonly round: number
  readonly void: boolean
  /** Requests, 202s, or jobs that ended. */
  readonly count: number
  readonly cpuUsEach: number
  /** Requests or 202s per second; for `life` jobs from the first 202 to the last end. */
  readonly perSecond: number
  readonly syncsEach: number
  readonly loopDelayP99Ms: number
  readonly wrk: WrkResult
}

const PATHS: Readonly<Record<What, string>> = { direct: '/direct', '202': '/parked', life: '/work' }
const QUEUES: Readonly<Record<What, string>> = { direct: '', '202': 'parked', life: 'work' }
const BODY_BYTES = 200
const UNFINISHED = ['queued', 'running', 'retrying'] as const

interface Counts {
  readonly succeeded: number
  readonly unfinished: number
  readonly all: number
  readonly syncs: number
  readonly loopDelayP99: number
}

async function counts(gateway: GatewayArm, what: What): Promise<Counts> {
  const text = await gateway.metrics()
  const jobs = (...labels: string[]): number => metricSum(text, 'spillway_jobs', `queue="${QUEUES[what]}"`, ...labels)
  return {
    succeeded: jobs('status="succeeded"'),
    unfinished: UNFINISHED.reduce((sum, status) => sum + jobs(`status="${status}"`), 0),
    all: jobs(),
    syncs: metricSum(text, 'spillway_store_syncs_total'),
    loopDelayP99: metricSum(text, 'spillway_event_loop_delay_seconds', 'quantile="0.99"'),
  }
}

async function untilWorkedOff(gateway: GatewayArm): Promise<Counts> {
  for (;;) {
    const now = await counts(gateway, 'life')
    if (now.unfinished === 0) return now
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}

async function measure(gateway: GatewayArm, options: BenchOptions, what: What, round: number): Promise<QueueRun> {
  const { loadCores: core, connections } = options
  const seconds = round === 0 ? options.warmUpSeconds : options.seconds
  const before = await counts(gateway, what)
  const cpuBefore = cpuMicros(gateway.started.pid)
  const began = performance.now()
  const wrk = await runWrk({ core, connections, seconds, url: gateway.url + PATHS[what], method: 'POST', bodyBytes: BODY_BYTES })
  const after = what === 'life' ? await untilWorkedOff(gateway) : await counts(gateway, what)
  const cpu = cpuMicros(gateway.started.pid) - cpuBefore
  const tookMs = performance.now() - began
  // A few calls that wrk had open when it stopped were accepted all the same: the store's count is the true one.
  const count = what === 'direct' ? wrk.requests : after.all - before.all
  const failed = what === 'life' && after.succeeded - before.succeeded !== count
  return {
    what,
    round,
    void: isVoid(wrk) || failed || count < wrk.requests,
    count,
    cpuUsEach: cpu / Math.max(1, count),
    perSecond: what === 'life' ? (count * 1000) / tookMs : perSecond(wrk),
    syncsEach: (after.syncs - before.syncs) / Math.max(1, count),
    loopDelayP99Ms: after.loopDelayP99 * 1000,
    wrk,
  }
}

export async function benchQueue(options: BenchOptions): Promise<QueueRun[]> {
  const folder = workFolder()
  const stops: (() => Promise<void>)[] = []
  const runs: QueueRun[] = []
  try {
    const origin = await startOrigin(options.loadCores, folder.path)
    stops.push(() => origin.started.stop())
    const gateway = await startGateway(options.proxyCores, folder.path, Number(new URL(origin.url).port))
    stops.unshift(() => gateway.started.stop())
    for (let round = 0; round <= options.rounds; round++) {
      for (const what of WHATS) {
        const run = await measure(gateway, options, what, round)
        const figures = `${run.cpuUsEach.toFixed(1)} µs each, ${Math.round(run.perSecond)}/s, ${run.syncsEach.toFixed(3)} syncs each, loop delay p99 ${run.loopDelayP99Ms.toFixed(1)} ms`
        options.say(`queue ${round === 0 ? 'warm-up' : `round ${round}`} ${what}: ${run.void ? 'VOID ' : ''}${figures}`)
        if (round > 0) runs.push(run)
      }
    }
  } finally {
    for (const stop of stops) await stop()
    folder.remove()
  }
  return runs
}
