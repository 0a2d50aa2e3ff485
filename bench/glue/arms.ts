/** The two ways to "now or later": Spillway, and what is written by hand around a broker. The same paths on both. */
import path from 'node:path'
import process from 'node:process'
import { startGateway } from '../arms.ts'
import { startRedis } from '../brokers/redis.ts'
import { cpuMicros, type Cores, freePort, signalTree, startPinned, untilAnswers } from '../machine.ts'
import { metricSum } from '../metrics.ts'

export const GLUE_ARMS = ['spillway', 'express-bullmq'] as const
export type GlueArmName = (typeof GLUE_ARMS)[number]

/** Jobs by where they are. */
export interface Counts {
  readonly succeeded: number
  readonly failed: number
  readonly unfinished: number
  /** Accepted by the queue that nobody works off. */
  readonly parked: number
}

export interface GlueArm {
  readonly url: string
  /** Of all its processes. */
  cpuMicros(): number
  counts(): Promise<Counts>
  /** Whoever is not in turn is stopped, so that it costs the others nothing. */
  rest(signal: 'SIGSTOP' | 'SIGCONT'): void
  stop(): Promise<void>
}

async function spillway(cores: Cores, folder: string, originPort: number, probePort: number): Promise<GlueArm> {
  const gateway = await startGateway(cores, folder, originPort, { probePort })
  const { url, started } = gateway
  return {
    url,
    cpuMicros: () => cpuMicros(started.pid),
    async counts() {
      const text = await gateway.metrics()
      const jobs = (queue: string, ...statuses: readonly string[]): number =>
        statuses.reduce((sum, status) => sum + metricSum(text, 'spillway_jobs', `queue="${queue}"`, `status="${status}"`), 0)
      const of = (...statuses: readonly string[]): number => jobs('work', ...statuses) + jobs('probe', ...statuses)
      return {
        succeeded: of('succeeded'),
        failed: of('failed', 'expired', 'cancelled'),
        unfinished: of('queued', 'running', 'retrying'),
        parked: jobs('parked', 'queued'),
      }
    },
    rest: (signal) => void signalTree(started.pid, signal),
    stop: () => started.stop(),
  }
}

/** Both its processes on the same core. */
async function expressBullmq(cores: Cores, folder: string, originPort: number, probePort: number): Promise<GlueArm> {
  const redis = await startRedis(cores, folder)
  const port = await freePort()
  const args = [
    path.join(import.meta.dirname, 'app.ts'),
    String(port),
    redis.address,
    ...[originPort, probePort].map((each) => `http://127.0.0.1:${each}`),
  ]
  const app = startPinned(cores, process.execPath, args)
  const url = `http://127.0.0.1:${port}`
  await untilAnswers(`${url}/counts`, 200, app)
  return {
    url,
    cpuMicros: () => cpuMicros(app.pid) + cpuMicros(redis.started.pid),
    async counts() {
      const { completed, failed, waiting, active, delayed, parked } = (await (await fetch(`${url}/counts`)).json()) as Record<
        string,
        number
      >
      return {
        succeeded: completed ?? 0,
        failed: failed ?? 0,
        unfinished: (waiting ?? 0) + (active ?? 0) + (delayed ?? 0),
        parked: parked ?? 0,
      }
    },
    rest(signal) {
      for (const { pid } of [app, redis.started]) signalTree(pid, signal)
    },
    async stop() {
      await app.stop()
      await redis.stop()
    },
  }
}

export interface GluePlace {
  readonly cores: Cores
  readonly folder: string
  /** Answers at once. */
  readonly originPort: number
  /** Of the server behind `/probe`. */
  readonly probePort: number
}

export function startGlueArm(name: GlueArmName, { cores, folder, originPort, probePort }: GluePlace): Promise<GlueArm> {
  const start = name === 'spillway' ? spillway : expressBullmq
  return start(cores, folder, originPort, probePort)
}
