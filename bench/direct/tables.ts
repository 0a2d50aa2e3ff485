/** Latency at half load, and memory of idle connections, as Markdown. */
import { fixed, median, runsText, table } from '../tables.ts'
import { type IdleRun, OVER } from './idle.ts'
import type { LatencyRun } from './latency.ts'

const MIB = 2 ** 20

export function latencyTable(runs: readonly LatencyRun[]): string {
  const arms = [...new Set(runs.map(({ arm }) => arm))]
  const rows = arms.map((arm) => {
    const all = runs.filter((run) => run.arm === arm)
    const figure = (pick: (run: LatencyRun) => number, digits: number): string =>
      fixed(median(all.filter((run) => !run.void).map(pick)), digits)
    return [
      arm,
      figure((run) => run.perSecond, 0),
      figure((run) => run.p50Ms, 2),
      figure((run) => run.p99Ms, 2),
      figure((run) => run.maxMs, 1),
      figure((run) => run.cpu * 100, 0),
      runsText(all),
    ]
  })
  return table(['proxy', 'requests/s', 'p50 ms', 'p99 ms', 'max ms', 'CPU %', 'runs'], rows)
}

export function idleTable(runs: readonly IdleRun[]): string {
  const arms = [...new Set(runs.map(({ arm }) => arm))]
  const rows = OVER.flatMap((over) =>
    arms.map((arm) => {
      const all = runs.filter((run) => run.arm === arm && run.over === over)
      const figure = (pick: (run: IdleRun) => number, digits: number): string =>
        fixed(median(all.filter((run) => !run.void).map(pick)), digits)
      return [
        `${over}, ${arm}`,
        figure((run) => (run.rssIdle - run.rssBefore) / run.connections / 1024, 1),
        figure((run) => run.rssBefore / MIB, 0),
        figure((run) => run.rssIdle / MIB, 0),
        runsText(all),
      ]
    }),
  )
  return table(['idle connections, proxy', 'KiB each', 'RSS MiB before', 'RSS MiB with them', 'runs'], rows)
}
