/**
 * Several threads against one, on two cores: ours with `workers`, nginx with worker processes, HAProxy with threads. Client and origin need their share
 * of the machine, too: so what a request costs in all threads together says more than how many there are in a second.
 */
import { type Arm, startGateway, startHaproxy, startNginxPeer, startOrigin } from '../arms.ts'
import { type Cores, cpuMicros, findProgram, rssBytes, workFolder } from '../machine.ts'
import type { BenchOptions } from '../options.ts'
import { fixed, median, runsText, table } from '../tables.ts'
import { isVoid, perSecond, runWrk } from '../wrk.ts'

export interface ThreadsRun {
  readonly arm: string
  readonly threads: number
  readonly body: string
  readonly round: number
  readonly void: boolean
  readonly perSecond: number
  readonly cpuUsPerRequest: number
  readonly rssBytes: number
}

const ALL_CORES: Cores = '0,1'
const THREADS = [1, 2]
const BODIES = [
  { body: '32 B', path: '/32', tls: false },
  { body: '64 KiB', path: '/64k', tls: false },
  { body: '64 KiB over TLS', path: '/64k', tls: true },
] as const
const STARTS = { nginx: startNginxPeer, haproxy: startHaproxy, spillway: startGateway } as const
type Peer = keyof typeof STARTS

interface ThreadedArm extends Arm {
  readonly threads: number
}

async function start(name: Peer, threads: number, { folder, originPort }: { folder: string; originPort: number }): Promise<ThreadedArm> {
  return { ...(await STARTS[name](ALL_CORES, folder, originPort, { threads })), threads }
}

async function measure(arm: ThreadedArm, what: (typeof BODIES)[number], round: number, options: BenchOptions): Promise<ThreadsRun> {
  const { pid } = arm.started
  const url = (what.tls ? (arm.tlsUrl as string) : arm.url) + what.path
  const seconds = round === 0 ? options.warmUpSeconds : options.seconds
  const before = cpuMicros(pid)
  const wrk = await runWrk({ core: ALL_CORES, connections: options.connections, seconds, url, method: 'GET', bodyBytes: 0 })
  const cpuUsPerRequest = (cpuMicros(pid) - before) / Math.max(1, wrk.requests)
  const figures = { perSecond: perSecond(wrk), cpuUsPerRequest, rssBytes: rssBytes(pid) }
  return { arm: arm.name, threads: arm.threads, body: what.body, round, void: isVoid(wrk), ...figures }
}

/** One after the other: idle threads of others would not matter, but their memory would. */
export async function benchThreads(options: BenchOptions): Promise<ThreadsRun[]> {
  const runs: ThreadsRun[] = []
  const folder = workFolder()
  const origin = await startOrigin(ALL_CORES, folder.path)
  try {
    const originPort = Number(new URL(origin.url).port)
    for (let round = 0; round <= options.rounds; round++)
      for (const name of Object.keys(STARTS) as Peer[]) {
        if (!options.arms.includes(name)) continue
        if (name !== 'spillway' && findProgram(name) === undefined) {
          if (round === 0) options.say(`${name}: not installed, skipped (Debian package ${name})`)
          continue
        }
        for (const threads of THREADS) {
          const arm = await start(name, threads, { folder: folder.path, originPort })
          try {
            for (const what of BODIES) {
              // What has just begun is not warm yet.
              await measure(arm, what, 0, options)
              const run = await measure(arm, what, round, options)
              const figures = `${Math.round(run.perSecond)}/s, ${run.cpuUsPerRequest.toFixed(1)} µs/request`
              options.say(
                `threads ${round === 0 ? 'warm-up' : `round ${round}`} ${what.body} ${name} × ${threads}: ${run.void ? 'VOID ' : ''}${figures}`,
              )
              if (round > 0) runs.push(run)
            }
          } finally {
            await arm.started.stop()
          }
        }
      }
  } finally {
    await origin.started.stop()
    folder.remove()
  }
  return runs
}

export function threadsTable(runs: readonly ThreadsRun[]): string {
  const of = (arm: string, body: string, threads: number): ThreadsRun[] =>
    runs.filter((run) => run.arm === arm && run.body === body && run.threads === threads)
  const rate = (arm: string, body: string, threads: number): number =>
    median(of(arm, body, threads).flatMap((run) => (run.void ? [] : [run.perSecond])))
  const kinds = [...new Map(runs.map((run) => [`${run.body} ${run.arm} ${run.threads}`, run])).values()]
  const rows = kinds
    .toSorted((a, b) => BODIES.findIndex(({ body }) => body === a.body) - BODIES.findIndex(({ body }) => body === b.body))
    .map(({ body, arm, threads }) => {
      const all = of(arm, body, threads)
      const figure = (pick: (run: ThreadsRun) => number, digits: number): string =>
        fixed(median(all.filter((run) => !run.void).map(pick)), digits)
      return [
        `${body}, ${arm} × ${threads}`,
        figure((run) => run.perSecond, 0),
        fixed(rate(arm, body, threads) / rate(arm, body, 1), 2),
        figure((run) => run.cpuUsPerRequest, 1),
        figure((run) => run.rssBytes / 2 ** 20, 0),
        runsText(all),
      ]
    })
  return table(['body, proxy × threads', 'requests/s', '÷ one thread', 'CPU µs/request', 'RSS MiB', 'runs'], rows)
}
