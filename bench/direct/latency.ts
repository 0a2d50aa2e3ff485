/** How long a small request takes at a load that leaves room: half of what our own gateway can do on this machine, the same for every proxy. */
import { type Arm, startGateway, startHaproxy, startNginxPeer, startOrigin } from '../arms.ts'
import { cpuMicros, findProgram, workFolder } from '../machine.ts'
import type { BenchOptions } from '../options.ts'
import { perSecond, runWrk } from '../wrk.ts'
import { Clients } from './clients.ts'
import type { Paced } from './clients-main.ts'

export interface LatencyRun extends Paced {
  readonly arm: string
  readonly round: number
  readonly void: boolean
  readonly perSecond: number
  /** Of one core. */
  readonly cpu: number
}

const PEERS = { nginx: startNginxPeer, haproxy: startHaproxy, spillway: startGateway } as const
const LOAD = 0.5

/** The peers that are installed and asked for, and our own; each is to be stopped by `stops`, also where the next one does not start. */
export async function startProxies(
  options: BenchOptions,
  { folder, originPort, stops }: { readonly folder: string; readonly originPort: number; readonly stops: (() => Promise<void>)[] },
): Promise<Arm[]> {
  const arms: Arm[] = []
  for (const [name, start] of Object.entries(PEERS)) {
    if (!options.arms.includes(name)) continue
    if (name !== 'spillway' && findProgram(name) === undefined) options.say(`${name}: not installed, skipped (Debian package ${name})`)
    else {
      const arm = await start(options.proxyCores, folder, originPort)
      arms.push(arm)
      stops.push(() => arm.started.stop())
    }
  }
  return arms
}

async function saturation(arms: readonly Arm[], options: BenchOptions): Promise<number> {
  let most = 0
  for (const arm of arms) {
    const load = { core: options.loadCores, connections: options.connections, url: `${arm.url}/32`, method: 'GET', bodyBytes: 0 } as const
    await runWrk({ ...load, seconds: options.warmUpSeconds })
    if (arm.name === 'spillway') most = perSecond(await runWrk({ ...load, seconds: options.seconds }))
  }
  return most
}

async function measure(
  arm: Arm,
  clients: Clients,
  { options, round, rate }: { readonly options: BenchOptions; readonly round: number; readonly rate: number },
): Promise<LatencyRun> {
  const { seconds, connections } = options
  const before = cpuMicros(arm.started.pid)
  const paced = await clients.pace({ url: `${arm.url}/32`, perSecond: rate, seconds, connections })
  const cpu = (cpuMicros(arm.started.pid) - before) / (seconds * 1e6)
  return { arm: arm.name, round, void: paced.answered < paced.due, perSecond: rate, cpu, ...paced }
}

export async function benchLatency(options: BenchOptions): Promise<LatencyRun[]> {
  const folder = workFolder()
  const clients = new Clients(options)
  const stops: (() => Promise<void>)[] = [() => clients.stop()]
  const runs: LatencyRun[] = []
  try {
    const origin = await startOrigin(options.loadCores, folder.path)
    stops.push(() => origin.started.stop())
    const arms = await startProxies(options, { folder: folder.path, originPort: Number(new URL(origin.url).port), stops })
    const rate = Math.floor(LOAD * (await saturation(arms, options)))
    // Round 0 warms up the clients.
    for (let round = 0; round <= options.rounds; round++) {
      for (const arm of arms) {
        const run = await measure(arm, clients, { options, round, rate })
        const figures = `${run.perSecond}/s, p50 ${run.p50Ms.toFixed(2)} p99 ${run.p99Ms.toFixed(2)} ms, ${(run.cpu * 100).toFixed(0)} % of a core`
        options.say(`latency ${round === 0 ? 'warm-up' : `round ${round}`} ${arm.name}: ${run.void ? 'VOID ' : ''}${figures}`)
        if (round > 0) runs.push(run)
      }
    }
  } finally {
    for (const stop of stops) await stop()
    folder.remove()
  }
  return runs
}
