/** What `bench/brokers.ts` measured as two tables, with what the issue asks for. Void runs do not count. */
import type { BrokerRun } from '../brokers.ts'
import { fixed, median, runsText, table, type Verdict } from '../tables.ts'
import { type ArmName, ARMS, isEngine } from './arms.ts'
import type { What } from './measure.ts'

/** The same in all columns: which arm, which measurement, which figure. */
type Middle = (arm: ArmName, what: What, pick: (run: BrokerRun) => number | undefined) => number

function middleOf(runs: readonly BrokerRun[]): Middle {
  return (arm, what, pick) => {
    const good = runs.filter((run) => run.arm === arm && run.what === what && !run.void)
    return median(good.map((run) => pick(run) ?? Number.NaN))
  }
}

const perSecond = (run: BrokerRun): number => run.perSecond
const p99 = (run: BrokerRun): number | undefined => run.p99Ms
const bothCpu = (run: BrokerRun): number => run.brokerCpuUsEach + run.clientCpuUsEach

function brokersText(runs: readonly BrokerRun[], arms: readonly ArmName[], middle: Middle): string {
  const rows = arms.map((arm) => [
    arm,
    fixed(middle(arm, 'submits', perSecond), 0),
    fixed(middle(arm, 'lives', perSecond), 0),
    fixed(
      middle(arm, 'lives', (run) => run.brokerCpuUsEach),
      1,
    ),
    fixed(
      middle(arm, 'lives', (run) => run.clientCpuUsEach),
      1,
    ),
    fixed(
      middle(arm, 'latency', (run) => run.rate),
      0,
    ),
    fixed(
      middle(arm, 'latency', (run) => run.p50Ms),
      1,
    ),
    fixed(middle(arm, 'latency', p99), 1),
    runsText(runs.filter((run) => run.arm === arm)),
  ])
  const head = ['broker', 'submits/s', 'lives/s', 'broker µs/life', 'client µs/life', 'at half: jobs/s', 'p50 ms', 'p99 ms', 'runs']
  return table(head, rows)
}

function waitingText(arm: ArmName): string {
  return (ARMS[arm].waiting ?? 0).toLocaleString('en-US')
}

function engineText(runs: readonly BrokerRun[], arms: readonly ArmName[], middle: Middle): string {
  const rows = arms.map((arm) => [
    waitingText(arm),
    fixed(middle(arm, 'submits', perSecond), 0),
    fixed(middle(arm, 'submits', bothCpu), 1),
    fixed(middle(arm, 'lives', perSecond), 0),
    fixed(middle(arm, 'lives', bothCpu), 1),
    runsText(runs.filter((run) => run.arm === arm)),
  ])
  return table(['engine alone, jobs waiting', 'submits/s', 'CPU µs/submit', 'lives/s', 'CPU µs/life', 'runs'], rows)
}

function engineVerdicts(arms: readonly ArmName[], middle: Middle): Verdict[] {
  return arms.flatMap((arm) =>
    [{ text: 'submits/s', what: 'submits', least: 80_000 } as const, { text: 'whole lives/s', what: 'lives', least: 35_000 } as const].map(
      ({ text, what, least }) => {
        const measured = middle(arm, what, perSecond)
        return { claim: `engine alone, ${waitingText(arm)} jobs waiting, ${text}: at least ${least}`, measured, holds: measured >= least }
      },
    ),
  )
}

/** `best` of the peers that have a figure. */
function bestOf(peers: readonly ArmName[], figure: (arm: ArmName) => number, best: (a: number, b: number) => boolean): ArmName | undefined {
  const measured = peers.filter((arm) => !Number.isNaN(figure(arm)))
  return measured.sort((a, b) => (best(figure(a), figure(b)) ? -1 : 1))[0]
}

function peerVerdicts(arms: readonly ArmName[], middle: Middle): Verdict[] {
  const peers = arms.filter((arm) => arm !== 'spillway')
  if (peers.length === arms.length || peers.length === 0) return []
  const lives = (arm: ArmName): number => middle(arm, 'lives', perSecond)
  const latency = (arm: ArmName): number => middle(arm, 'latency', p99)
  const fastest = bestOf(peers, lives, (a, b) => a > b)
  const promptest = bestOf(peers, latency, (a, b) => a < b)
  const ratio = fastest === undefined ? Number.NaN : lives('spillway') / lives(fastest)
  const lateness = promptest === undefined ? Number.NaN : latency('spillway') / latency(promptest)
  return [
    { claim: `whole lives/s: at least 2 × the best of the others, ${fastest ?? 'none'}`, measured: ratio, holds: ratio >= 2 },
    {
      claim: `p99 from submit to start at half of its own saturation: below the lowest of the others, ${promptest ?? 'none'}, ×`,
      measured: lateness,
      holds: lateness < 1,
    },
  ]
}

export function brokersTable(runs: readonly BrokerRun[]): { text: string; verdicts: Verdict[] } {
  const middle = middleOf(runs)
  const arms = [...new Set(runs.map((run) => run.arm))]
  const engines = arms.filter(isEngine)
  const brokers = arms.filter((arm) => !isEngine(arm))
  const texts = [
    ...(engines.length > 0 ? [engineText(runs, engines, middle)] : []),
    ...(brokers.length > 0 ? [brokersText(runs, brokers, middle)] : []),
  ]
  return { text: texts.join('\n\n'), verdicts: [...engineVerdicts(engines, middle), ...peerVerdicts(brokers, middle)] }
}
