/**
 * Where our CPU goes: runs the gateway, or the engine alone, under `--cpu-prof` with a load in front and prints the functions with the most
 * self time, per thread. `api-…` and `engine-…` are what `bench/brokers.ts` measures; the engine's profiles hold its client, too.
 *
 *   node scripts/setup.mjs bench/profile.ts [direct|direct-64k|post|202|life|api-submits|api-lives|engine-submits|engine-lives] [seconds] [functions]
 */
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { ask, startArm, stopArm } from './brokers.ts'
import { startGateway, startOrigin } from './arms.ts'
import { cpuMicros, ROOT, workFolder } from './machine.ts'
import { runWrk } from './wrk.ts'

const LOADS: Readonly<Record<string, { readonly path: string; readonly method: 'GET' | 'POST'; readonly bodyBytes: number }>> = {
  direct: { path: '/32', method: 'GET', bodyBytes: 0 },
  'direct-64k': { path: '/64k', method: 'GET', bodyBytes: 0 },
  post: { path: '/direct', method: 'POST', bodyBytes: 200 },
  '202': { path: '/parked', method: 'POST', bodyBytes: 200 },
  life: { path: '/work', method: 'POST', bodyBytes: 200 },
}

const BROKER_LOADS: Readonly<Record<string, { readonly arm: 'spillway' | 'engine'; readonly what: 'submits' | 'lives' }>> = {
  'api-submits': { arm: 'spillway', what: 'submits' },
  'api-lives': { arm: 'spillway', what: 'lives' },
  'engine-submits': { arm: 'engine', what: 'submits' },
  'engine-lives': { arm: 'engine', what: 'lives' },
}

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

function place(url: string, line: number): string {
  if (url === '') return ''
  return `${url.replace(`file://${ROOT}/`, '')}:${line + 1}`
}

/** Self time by function, the biggest first; idle time is left out. */
export function selfTimes(profile: CpuProfile): { name: string; micros: number }[] {
  const names = new Map<number, string>()
  for (const { id, callFrame } of profile.nodes) {
    names.set(id, `${callFrame.functionName || '(anonymous)'} ${place(callFrame.url, callFrame.lineNumber)}`.trim())
  }
  const micros = new Map<string, number>()
  for (const [i, id] of profile.samples.entries()) {
    const name = names.get(id) as string
    if (name === '(idle)') continue
    micros.set(name, (micros.get(name) ?? 0) + (profile.timeDeltas[i] as number))
  }
  return [...micros].map(([name, us]) => ({ name, micros: us })).sort((a, b) => b.micros - a.micros)
}

function print(file: string, requests: number, most: number): void {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as CpuProfile
  const times = selfTimes(profile)
  const total = times.reduce((sum, { micros }) => sum + micros, 0)
  process.stdout.write(`\n${path.basename(file)}: ${(total / requests).toFixed(1)} µs/request in all\n`)
  for (const { name, micros } of times.slice(0, most)) {
    const share = ((100 * micros) / total).toFixed(1).padStart(5)
    process.stdout.write(`${share} %  ${(micros / requests).toFixed(2).padStart(6)} µs  ${name}\n`)
  }
}

type Load = (typeof LOADS)[string]

/** How often it was done. */
async function profileHttp(load: Load, seconds: number, folder: string, nodeArgs: readonly string[]): Promise<number> {
  const origin = await startOrigin(1, folder)
  const gateway = await startGateway(0, folder, Number(new URL(origin.url).port), { nodeArgs })
  const before = cpuMicros(gateway.started.pid)
  const wrk = await runWrk({ core: 1, connections: 64, seconds, url: gateway.url + load.path, ...load })
  const cpu = cpuMicros(gateway.started.pid) - before
  process.stdout.write(
    `${wrk.requests} requests, ${(cpu / wrk.requests).toFixed(1)} µs CPU each (under the profiler), ${JSON.stringify(wrk)}\n`,
  )
  await gateway.started.stop()
  await origin.started.stop()
  return wrk.requests
}

async function profileBroker(
  load: (typeof BROKER_LOADS)[string],
  seconds: number,
  folder: string,
  nodeArgs: readonly string[],
): Promise<number> {
  const arm = await startArm(load.arm, { proxyCores: 0, loadCores: 1 }, folder, nodeArgs)
  const measured = await ask(arm, { what: load.what, seconds, rate: 0 })
  process.stdout.write(`${JSON.stringify(measured)} (under the profiler)\n`)
  // A client that is left alone ends by itself, and its profile is written.
  arm.client.process.disconnect()
  await once(arm.client.process, 'exit')
  await stopArm(arm)
  return measured.jobs
}

async function main(): Promise<void> {
  const [what = 'direct', seconds = '5', most = '30'] = process.argv.slice(2)
  const [load, brokerLoad] = [LOADS[what], BROKER_LOADS[what]]
  const folder = workFolder()
  const profiles = path.join(folder.path, 'profiles')
  mkdirSync(profiles)
  const nodeArgs = ['--cpu-prof', `--cpu-prof-dir=${profiles}`]
  try {
    let count: number
    if (load !== undefined) count = await profileHttp(load, Number(seconds), folder.path, nodeArgs)
    else if (brokerLoad !== undefined) count = await profileBroker(brokerLoad, Number(seconds), folder.path, nodeArgs)
    else throw new Error(`one of ${[...Object.keys(LOADS), ...Object.keys(BROKER_LOADS)].join(', ')}, not "${what}"`)
    for (const file of readdirSync(profiles)) print(path.join(profiles, file), count, Number(most))
  } finally {
    folder.remove()
  }
}

if (import.meta.main) await main()
