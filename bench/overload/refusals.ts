/** What a refusal costs beside serving: CPU time of the gateway for each request, with the same load, by wrk. */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { startOrigin } from '../arms.ts'
import { cpuMicros, findProgram, freePort, ROOT, type Started, startPinned, untilListening, workFolder } from '../machine.ts'
import type { BenchOptions } from '../options.ts'
import { runWrk } from '../wrk.ts'
import { startTimedServer } from '../../test/support/timed-server.ts'

export const ANSWERS = ['served', 'full line', 'guard'] as const
export type AnswerKind = (typeof ANSWERS)[number]

export interface RefusalRun {
  readonly what: AnswerKind
  readonly round: number
  readonly void: boolean
  readonly cpuUsEach: number
  readonly perSecond: number
}

/** Nothing is waited for longer than a benchmark takes. */
const FOREVER_MS = 3_600_000

interface Gateway {
  readonly url: string
  readonly started: Started
}

async function startGateway(options: BenchOptions, folder: string, parts: { name: string; rest: string }): Promise<Gateway> {
  const [port, admin] = [await freePort(), await freePort()]
  const config = path.join(folder, `${parts.name}.yaml`)
  writeFileSync(
    config,
    `listeners: [ "127.0.0.1:${port}" ]\nadmin: { address: "127.0.0.1:${admin}" }\nstore: { engine: memory }\ntimeouts: { firstByte: 1h }\n${parts.rest}`,
  )
  const started = startPinned(options.proxyCores, process.execPath, [path.join(ROOT, 'src', 'main.ts'), 'run', config])
  await untilListening(port, started)
  return { url: `http://127.0.0.1:${port}`, started }
}

async function measure(gateway: Gateway, what: AnswerKind, parts: { options: BenchOptions; round: number }): Promise<RefusalRun> {
  const { options, round } = parts
  const before = cpuMicros(gateway.started.pid)
  const url = `${gateway.url}${what === 'full line' ? '/full' : '/32'}`
  const load = { core: options.loadCores, connections: options.connections, url, method: 'GET', bodyBytes: 0 } as const
  const wrk = await runWrk({ ...load, seconds: round === 0 ? options.warmUpSeconds : options.seconds })
  const cpuUsEach = (cpuMicros(gateway.started.pid) - before) / Math.max(1, wrk.requests)
  const broken = wrk.connectErrors + wrk.readErrors + wrk.writeErrors + wrk.timeouts
  const isVoid = wrk.requests === 0 || broken > 0 || wrk.statusErrors !== (what === 'served' ? 0 : wrk.requests)
  return { what, round, void: isVoid, cpuUsEach, perSecond: (wrk.requests * 1e6) / wrk.durationUs }
}

/** Empty where wrk or nginx is missing. */
export async function benchRefusals(options: BenchOptions): Promise<RefusalRun[]> {
  const missing = ['wrk', 'nginx'].filter((program) => findProgram(program) === undefined)
  if (missing.length > 0) {
    options.say(`refusals skipped: ${missing.join(', ')} not installed`)
    return []
  }
  const folder = workFolder()
  const busy = await startTimedServer(1, () => FOREVER_MS)
  const stops: (() => Promise<void> | void)[] = [() => busy.close()]
  const runs: RefusalRun[] = []
  const holding = new AbortController()
  try {
    const origin = await startOrigin(options.loadCores, folder.path)
    stops.unshift(() => origin.started.stop())
    const pools = `pools:\n  origin: { servers: [ "${origin.url}" ], maxInFlight: 1024 }\n  full: { servers: [ "${busy.url}" ], maxInFlight: 1, wait: 0s, maxWaiting: 0 }\n`
    const routes = 'routes: [ { match: /full, pool: full }, { match: "/*", pool: origin } ]\n'
    // With so little memory to have any gateway has too much to do.
    const pressed = 'guard: { loopDelay: off, sockets: off, memory: { from: 0.1%, full: 0.2% } }\n'
    const calm = await startGateway(options, folder.path, { name: 'calm', rest: `${pools}${routes}guard: off\n` })
    stops.unshift(() => calm.started.stop('SIGKILL'))
    const guarded = await startGateway(options, folder.path, { name: 'guarded', rest: pools + routes + pressed })
    stops.unshift(() => guarded.started.stop('SIGKILL'))
    fetch(`${calm.url}/full`, { signal: holding.signal }).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 1000))
    for (let round = 0; round <= options.rounds; round++) {
      for (const what of ANSWERS) {
        const run = await measure(what === 'guard' ? guarded : calm, what, { options, round })
        options.say(
          `refusals round ${round} ${what}: ${run.void ? 'VOID ' : ''}${run.cpuUsEach.toFixed(1)} µs, ${Math.round(run.perSecond)}/s`,
        )
        if (round > 0) runs.push(run)
      }
    }
  } finally {
    holding.abort()
    for (const stop of stops) await stop()
    folder.remove()
  }
  return runs
}
