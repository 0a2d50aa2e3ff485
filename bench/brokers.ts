/**
 * Spillway's queue API beside other brokers, and its engine alone: the same jobs, the same window, a sync before every confirm. One broker and
 * its client at a time: the others are stopped meanwhile (SIGSTOP), so that what they still have to tidy up falls into their own turns.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { ARMS, type ArmName, isEngine } from './brokers/arms.ts'
import type { RunningBroker } from './brokers/broker.ts'
import type { Answer, Order } from './brokers/client.ts'
import { installClients } from './brokers/install.ts'
import { type Measured, type What, WHATS } from './brokers/measure.ts'
import { signalTree, type Started, startPinned, workFolder } from './machine.ts'
import type { BenchOptions } from './options.ts'
import { median } from './tables.ts'

export interface BrokerRun extends Measured {
  readonly arm: ArmName
  readonly what: What
  readonly round: number
  readonly void: boolean
  /** Of `latency`: jobs per second that were to be sent. */
  readonly rate?: number
}

interface RunningArm {
  readonly name: ArmName
  readonly broker: RunningBroker | undefined
  readonly client: Started
}

const CLIENT = path.join(import.meta.dirname, 'brokers', 'client.ts')
/** Latency is measured at this share of the whole lives per second that the arm has shown. */
const LOAD = 0.5
/** Of the length of a run: a submit tells the same in half the time, and leaves less to tidy up. */
const LENGTH: Readonly<Record<What, number>> = { submits: 0.5, lives: 1, latency: 1 }

/** `nodeArgs`: for our own code, which is in the broker's process or in the client's. */
export async function startArm(
  name: ArmName,
  options: Pick<BenchOptions, 'proxyCores' | 'loadCores'>,
  parent: string,
  nodeArgs: readonly string[] = [],
): Promise<RunningArm> {
  const folder = path.join(parent, name)
  mkdirSync(folder)
  const broker = await ARMS[name].start?.(options.proxyCores, folder, nodeArgs)
  const args = [CLIENT, name, broker?.address ?? folder, String(broker?.started.pid ?? 0)]
  if (broker !== undefined) return { name, broker, client: startPinned(options.loadCores, process.execPath, args, { channel: true }) }
  // The engine's own thread and the one that drives it have a core each, as broker and client have.
  const both = `${options.proxyCores},${options.loadCores}`
  return { name, broker, client: startPinned(both, process.execPath, [...nodeArgs, ...args], { channel: true }) }
}

/** Broker and client, whatever they started included. One that has ended is not there to be signalled. */
function signalArm({ broker, client }: RunningArm, signal: 'SIGSTOP' | 'SIGCONT'): void {
  for (const started of [broker?.started, client]) {
    if (started !== undefined && started.process.exitCode === null && started.process.signalCode === null) signalTree(started.pid, signal)
  }
}

export async function stopArm(arm: RunningArm): Promise<void> {
  signalArm(arm, 'SIGCONT')
  await arm.client.stop('SIGKILL')
  await arm.broker?.stop()
}

/** A client that dies is an error of the rig, not a void run. */
export async function ask({ name, client }: RunningArm, order: Order): Promise<Measured> {
  const answer = await new Promise<Answer>((resolve) => {
    const ended = (): void => resolve({ error: `its client ended: ${client.output()}` })
    client.process.once('exit', ended)
    client.process.once('message', (message) => {
      client.process.off('exit', ended)
      resolve(message as Answer)
    })
    client.process.send(order)
  })
  if ('error' in answer) throw new Error(`${name}, ${order.what}: ${answer.error}`)
  return answer.measured
}

/** Half of what the arm has shown in this run so far, this round included; void runs tell nothing. */
function latencyRate(runs: readonly BrokerRun[], arm: ArmName): number {
  const lives = runs.filter((run) => run.arm === arm && run.what === 'lives' && !run.void)
  const newest = lives.filter(({ round }) => round === lives.at(-1)?.round || round > 0)
  return median(newest.map((run) => run.perSecond)) * LOAD
}

function sayRun({ arm, what, round, faults, ...run }: BrokerRun, say: (line: string) => void): void {
  const latency = run.p99Ms === undefined ? '' : `, p50 ${run.p50Ms?.toFixed(1)} ms, p99 ${run.p99Ms.toFixed(1)} ms`
  const cpu = `${run.brokerCpuUsEach.toFixed(1)} + ${run.clientCpuUsEach.toFixed(1)} µs each`
  const faultText = faults.length === 0 ? '' : `VOID (${faults.join('; ')}) `
  say(`brokers ${round === 0 ? 'warm-up' : `round ${round}`} ${what} ${arm}: ${faultText}${Math.round(run.perSecond)}/s, ${cpu}${latency}`)
}

async function runRounds(arms: readonly RunningArm[], options: BenchOptions): Promise<BrokerRun[]> {
  const runs: BrokerRun[] = []
  for (let round = 0; round <= options.rounds; round++) {
    for (const what of WHATS) {
      for (const arm of arms) {
        const rate = latencyRate(runs, arm.name)
        if (what === 'latency' && (isEngine(arm.name) || Number.isNaN(rate))) continue
        const seconds = LENGTH[what] * (round === 0 ? options.warmUpSeconds : options.seconds)
        signalArm(arm, 'SIGCONT')
        const measured = await ask(arm, { what, seconds, rate })
        signalArm(arm, 'SIGSTOP')
        // What it left in the page cache is not written during the turn of the next.
        execFileSync('sync')
        const isVoid = measured.faults.length > 0 || measured.jobs === 0
        const run: BrokerRun = { arm: arm.name, what, round, void: isVoid, ...(what === 'latency' && { rate }), ...measured }
        sayRun(run, options.say)
        runs.push(run)
      }
    }
  }
  return runs.filter(({ round }) => round > 0)
}

function present(options: BenchOptions): ArmName[] {
  return options.brokers.filter((name) => {
    const missing = ARMS[name].missing()
    if (missing !== undefined) options.say(`${name}: skipped, ${missing}`)
    return missing === undefined
  })
}

export async function benchBrokers(options: BenchOptions): Promise<BrokerRun[]> {
  const names = present(options)
  if (names.some((name) => ARMS[name].clientPackage !== undefined)) installClients(options.say)
  const folder = workFolder()
  chmodSync(folder.path, 0o711)
  const arms: RunningArm[] = []
  const end = async (): Promise<void> => {
    await Promise.all(arms.map(stopArm))
    folder.remove()
  }
  // A stopped process would not notice that we are gone.
  const interrupted = (): void => void end().finally(() => process.exit(130))
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted)
  try {
    for (const name of names) {
      const arm = await startArm(name, options, folder.path)
      arms.push(arm)
      signalArm(arm, 'SIGSTOP')
    }
    return await runRounds(arms, options)
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted)
    await end()
  }
}
