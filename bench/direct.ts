/** The direct path against nginx and HAProxy: the same origin, the same load, one core each, in turns. */
import { type Arm, startGateway, startHaproxy, startNginxPeer, startNodeProxy, startOrigin } from './arms.ts'
import { areClientsInstalled } from './brokers/install.ts'
import { cpuMicros, findProgram, rssBytes, workFolder } from './machine.ts'
import type { BenchOptions } from './options.ts'
import { isVoid, perSecond, runWrk, type WrkResult } from './wrk.ts'

export interface DirectRun {
  readonly arm: string
  readonly body: (typeof BODIES)[number]['body']
  readonly round: number
  readonly void: boolean
  readonly cpuUsPerRequest: number
  readonly perSecond: number
  readonly rssBytes: number
  readonly wrk: WrkResult
}

const BODIES = [
  { body: '32 B', path: '/32', tls: false },
  { body: '64 KiB', path: '/64k', tls: false },
  { body: '32 B over TLS', path: '/32', tls: true },
  { body: '64 KiB over TLS', path: '/64k', tls: true },
] as const

/** Of Node's libraries only the smallest is of interest: there they are at their best beside us. */
const NODE_PROXIES = ['http-proxy-3', 'fastify'] as const

async function startArms(options: BenchOptions, folder: string, originPort: number): Promise<Arm[]> {
  const peers = { nginx: startNginxPeer, haproxy: startHaproxy, spillway: startGateway } as const
  const arms: Arm[] = []
  for (const [name, start] of Object.entries(peers)) {
    if (!options.arms.includes(name)) continue
    if (name !== 'spillway' && findProgram(name) === undefined) options.say(`${name}: not installed, skipped (Debian package ${name})`)
    else arms.push(await start(options.proxyCores, folder, originPort))
  }
  for (const name of NODE_PROXIES) {
    if (!options.arms.includes(name)) continue
    if (areClientsInstalled()) arms.push(await startNodeProxy(name, options.proxyCores, originPort))
    else options.say(`${name}: not installed, skipped (npm ci in bench/, which --only brokers does)`)
  }
  return arms
}

/** Undefined: it is not measured with this. */
function urlFor(arm: Arm, { path, tls, body }: (typeof BODIES)[number]): string | undefined {
  if (tls) return arm.tlsUrl === undefined ? undefined : arm.tlsUrl + path
  return body === '32 B' || arm.tlsUrl !== undefined ? arm.url + path : undefined
}

async function measure(
  arm: Arm,
  url: string,
  what: (typeof BODIES)[number],
  { options, round }: { readonly options: BenchOptions; readonly round: number },
): Promise<DirectRun> {
  const { loadCores: core, connections } = options
  const seconds = round === 0 ? options.warmUpSeconds : options.seconds
  const before = cpuMicros(arm.started.pid)
  const wrk = await runWrk({ core, connections, seconds, url, method: 'GET', bodyBytes: 0 })
  const cpuUsPerRequest = (cpuMicros(arm.started.pid) - before) / Math.max(1, wrk.requests)
  const rss = rssBytes(arm.started.pid)
  return { arm: arm.name, body: what.body, round, void: isVoid(wrk), cpuUsPerRequest, perSecond: perSecond(wrk), rssBytes: rss, wrk }
}

export async function benchDirect(options: BenchOptions): Promise<DirectRun[]> {
  const folder = workFolder()
  const started: Arm[] = []
  const runs: DirectRun[] = []
  try {
    const origin = await startOrigin(options.loadCores, folder.path)
    started.push(origin)
    const arms = await startArms(options, folder.path, Number(new URL(origin.url).port))
    started.push(...arms)
    // Round 0 warms up and is not kept.
    for (let round = 0; round <= options.rounds; round++) {
      for (const what of BODIES) {
        for (const arm of arms) {
          const url = urlFor(arm, what)
          if (url === undefined) continue
          const run = await measure(arm, url, what, { options, round })
          const figures = `${run.cpuUsPerRequest.toFixed(1)} µs/request, ${Math.round(run.perSecond)}/s, p99 ${run.wrk.p99Us} µs`
          options.say(`direct ${round === 0 ? 'warm-up' : `round ${round}`} ${what.body} ${arm.name}: ${run.void ? 'VOID ' : ''}${figures}`)
          if (round > 0) runs.push(run)
        }
      }
    }
  } finally {
    await Promise.all(started.map((arm) => arm.started.stop()))
    folder.remove()
  }
  return runs
}
