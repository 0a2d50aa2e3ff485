/** What `bench/glue.ts` measured as two tables, with what is asked of us. Void runs do not count; of latencies all jobs of all rounds together. */
import { type GlueRun, type GlueWhat, quantile } from '../glue.ts'
import { fixed, median, runsText, table, type Verdict } from '../tables.ts'
import { type GlueArmName, GLUE_ARMS } from './arms.ts'

type Way = 'toServerMs' | 'toEventMs'

export function glueTable(runs: readonly GlueRun[]): { text: string; verdicts: Verdict[] } {
  const good = (arm: GlueArmName, what: GlueWhat): GlueRun[] => runs.filter((run) => run.arm === arm && run.what === what && !run.void)
  const middle = (arm: GlueArmName, what: GlueWhat, pick: (run: GlueRun) => number | undefined): number =>
    median(good(arm, what).map((run) => pick(run) ?? Number.NaN))
  const way = (arm: GlueArmName, which: Way, q: number): number =>
    quantile(
      good(arm, 'latency').flatMap((run) => [...(run.latency?.[which] ?? [])]),
      q,
    )
  const perSecond = (arm: GlueArmName, what: GlueWhat): number => middle(arm, what, (run) => run.perSecond)
  const cpu = (arm: GlueArmName, what: GlueWhat): number => middle(arm, what, (run) => run.cpuUsEach)
  const rates = GLUE_ARMS.map((arm) => [
    arm,
    fixed(perSecond(arm, '202'), 0),
    fixed(cpu(arm, '202'), 1),
    fixed(perSecond(arm, 'life'), 0),
    fixed(cpu(arm, 'life'), 1),
    runsText(runs.filter((run) => run.arm === arm)),
  ])
  const ways = GLUE_ARMS.map((arm) => [
    arm,
    ...(['toServerMs', 'toEventMs'] as const).flatMap((which) => [0.5, 0.99].map((q) => fixed(way(arm, which, q), 2))),
  ])
  const p50 = (pick: (run: GlueRun) => readonly number[] | undefined): number =>
    quantile(
      runs.flatMap((run) => [...(pick(run) ?? [])]),
      0.5,
    )
  const sync = p50((run) => run.latency?.syncMs)
  const busy = p50((run) => run.busySyncMs)
  const text = [
    table(['rig', '202/s', 'CPU µs/202', 'lives/s', 'CPU µs/life', 'runs'], rates),
    '',
    table(['rig, idle', 'POST to server p50 ms', 'p99 ms', 'answer to event p50 ms', 'p99 ms'], ways),
    '',
    `One write of 4 KiB with its sync took ${fixed(sync, 2)} ms on this disk between two jobs of the same run (p50), and ${fixed(busy, 2)} ms one after the other.`,
  ].join('\n')
  const atMost = (claim: string, measured: number, most: number): Verdict => ({ claim, measured, holds: measured <= most })
  const atLeast = (claim: string, measured: number, least: number): Verdict => ({ claim, measured, holds: measured >= least })
  return {
    text,
    verdicts: [
      atLeast('durable 202/s: at least 12000', perSecond('spillway', '202'), 12_000),
      atLeast('whole lives/s: at least 5000', perSecond('spillway', 'life'), 5000),
      atMost(
        `POST to server, idle, p50: at most two syncs and 1 ms (${fixed(2 * sync + 1, 2)} ms)`,
        way('spillway', 'toServerMs', 0.5),
        2 * sync + 1,
      ),
      atMost('POST to server, idle, p99: at most 10 ms', way('spillway', 'toServerMs', 0.99), 10),
      atMost(
        `answer to event, idle, p50: at most one sync and 1 ms (${fixed(sync + 1, 2)} ms)`,
        way('spillway', 'toEventMs', 0.5),
        sync + 1,
      ),
    ],
  }
}
