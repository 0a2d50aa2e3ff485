/** What a client costs that keeps its connection and says nothing: memory of the proxy's process with many of them, each served once. */
import { type Arm, startOrigin } from '../arms.ts'
import { rssBytes, workFolder } from '../machine.ts'
import type { BenchOptions } from '../options.ts'
import { Clients } from './clients.ts'
import { startProxies } from './latency.ts'

export interface IdleRun {
  readonly arm: string
  readonly over: (typeof OVER)[number]
  readonly round: number
  readonly void: boolean
  readonly connections: number
  readonly rssBefore: number
  readonly rssIdle: number
}

export const OVER = ['plain', 'TLS'] as const
export const CONNECTIONS = 10_000
/** What was needed only while they came is given back by then, where it is. */
const SETTLE_MS = 5_000

async function measure(arm: Arm, over: IdleRun['over'], parts: { readonly clients: Clients; readonly round: number }): Promise<IdleRun> {
  const { clients, round } = parts
  const url = `${over === 'plain' ? arm.url : arm.tlsUrl}/32`
  const rssBefore = rssBytes(arm.started.pid)
  await clients.hold(url, CONNECTIONS)
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
  const rssIdle = rssBytes(arm.started.pid)
  const open = await clients.letGo()
  return { arm: arm.name, over, round, void: open < CONNECTIONS, connections: CONNECTIONS, rssBefore, rssIdle }
}

/** Each measurement begins with new processes: what was freed is seldom given back. */
export async function benchIdle(options: BenchOptions): Promise<IdleRun[]> {
  const clients = new Clients(options)
  const runs: IdleRun[] = []
  try {
    for (let round = 1; round <= options.rounds; round++)
      for (const over of OVER) {
        const folder = workFolder()
        const stops: (() => Promise<void>)[] = []
        try {
          const origin = await startOrigin(options.loadCores, folder.path)
          stops.push(() => origin.started.stop())
          const arms = await startProxies(options, { folder: folder.path, originPort: Number(new URL(origin.url).port), stops })
          for (const arm of arms) {
            const run = await measure(arm, over, { clients, round })
            const kib = (run.rssIdle - run.rssBefore) / run.connections / 1024
            options.say(`idle round ${round} ${over} ${arm.name}: ${run.void ? 'VOID ' : ''}${kib.toFixed(1)} KiB each`)
            runs.push(run)
          }
        } finally {
          for (const stop of stops) await stop()
          folder.remove()
        }
      }
  } finally {
    await clients.stop()
  }
  return runs
}
