/** Medians of the rounds as Markdown, with the limits that issue and design set. Void runs do not count. */
import type { DirectRun } from './direct.ts'
import type { MachineFacts } from './machine.ts'
import type { BenchOptions } from './options.ts'
import { type QueueRun, WHATS, type What } from './queue.ts'

export interface Verdict {
  readonly claim: string
  readonly measured: number
  readonly holds: boolean
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

export function fixed(value: number, digits: number): string {
  return Number.isNaN(value) ? '–' : value.toFixed(digits)
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), `|${head.map((_, i) => (i === 0 ? '---|' : '---:|')).join('')}`, ...rows.map(line)].join('\n')
}

export function runsText(runs: readonly { void: boolean }[]): string {
  const valid = runs.filter((run) => !run.void).length
  return valid === runs.length ? String(valid) : `${valid} (${runs.length - valid} void)`
}

/** Ours at most so many times that of the peer. */
const DIRECT_BARS = [
  ['32 B', 'nginx', 1.35],
  ['32 B', 'haproxy', 1.25],
  ['32 B', 'http-proxy-3', 0.45],
  ['32 B', 'fastify', 0.45],
  ['64 KiB', 'nginx', 1.3],
  ['32 B over TLS', 'nginx', 1.5],
] as const

export function directTable(runs: readonly DirectRun[]): { text: string; verdicts: Verdict[] } {
  const of = (arm: string, body: string): DirectRun[] => runs.filter((run) => run.arm === arm && run.body === body)
  const cpu = (arm: string, body: string): number => median(valid(of(arm, body)).map((run) => run.cpuUsPerRequest))
  const arms = [...new Set(runs.map((run) => run.arm))]
  const bodies = [...new Set(runs.map((run) => run.body))]
  const rows = bodies.flatMap((body) =>
    arms
      .filter((arm) => of(arm, body).length > 0)
      .map((arm) => {
        const good = valid(of(arm, body))
        const figure = (pick: (run: DirectRun) => number, digits: number): string => fixed(median(good.map(pick)), digits)
        return [
          `${body}, ${arm}`,
          figure((run) => run.cpuUsPerRequest, 1),
          fixed(cpu(arm, body) / cpu('nginx', body), 2),
          fixed(cpu(arm, body) / cpu('haproxy', body), 2),
          figure((run) => run.perSecond, 0),
          figure((run) => run.wrk.p99Us / 1000, 2),
          figure((run) => run.rssBytes / 2 ** 20, 0),
          runsText(of(arm, body)),
        ]
      }),
  )
  const head = ['response body, proxy', 'CPU µs/request', '÷ nginx', '÷ haproxy', 'requests/s', 'p99 ms', 'RSS MiB', 'runs']
  const verdicts = DIRECT_BARS.map(([body, peer, most]) => {
    const measured = cpu('spillway', body) / cpu(peer, body)
    return { claim: `CPU per request, ${body}: at most ${most} × ${peer}`, measured, holds: measured <= most }
  })
  return { text: table(head, rows), verdicts: verdicts.filter(({ measured }) => !Number.isNaN(measured)) }
}

function valid<T extends { readonly void: boolean }>(runs: readonly T[]): T[] {
  return runs.filter((run) => !run.void)
}

const WHAT_TEXT: Readonly<Record<What, string>> = { direct: 'direct request', '202': 'durable 202', life: 'whole life of a job' }

export function queueTable(runs: readonly QueueRun[]): { text: string; verdicts: Verdict[] } {
  const good = (what: What): QueueRun[] => valid(runs.filter((run) => run.what === what))
  const middle = (what: What, pick: (run: QueueRun) => number): number => median(good(what).map(pick))
  const cpu = (what: What): number => middle(what, (run) => run.cpuUsEach)
  const rows = WHATS.map((what) => [
    `${WHAT_TEXT[what]}, 200 B`,
    fixed(cpu(what), 1),
    fixed(cpu(what) / cpu('direct'), 2),
    fixed(
      middle(what, (run) => run.perSecond),
      0,
    ),
    fixed(
      middle(what, (run) => run.syncsEach),
      3,
    ),
    fixed(
      middle(what, (run) => run.wrk.p99Us / 1000),
      2,
    ),
    fixed(
      middle(what, (run) => run.loopDelayP99Ms),
      1,
    ),
    runsText(runs.filter((run) => run.what === what)),
  ])
  const head = ['POST', 'CPU µs each', '÷ direct', 'per second', 'syncs each', 'p99 ms', 'loop delay p99 ms', 'runs']
  const accepted = middle('202', (run) => run.perSecond)
  const verdicts = [
    { claim: 'CPU per durable 202: at most 3 × our direct request', measured: cpu('202') / cpu('direct'), most: 3 },
    { claim: 'CPU per whole life: at most 8 × our direct request', measured: cpu('life') / cpu('direct'), most: 8 },
  ].map(({ claim, measured, most }) => ({ claim, measured, holds: measured <= most }))
  return {
    text: table(head, rows),
    verdicts: [...verdicts, { claim: 'durable 202/s: at least 6000', measured: accepted, holds: accepted >= 6000 }],
  }
}

/** `others`: who took part beside Node, with versions. */
export function factsText(
  facts: MachineFacts,
  others: readonly string[],
  { rounds, seconds }: Pick<BenchOptions, 'rounds' | 'seconds'>,
): string {
  const peers = [`Node ${facts.node}`, ...others]
  const machine = `${facts.cpu}, ${facts.cores} cores, ${facts.memoryGiB} GiB, Linux ${facts.kernel}, ${facts.fileSystem}`
  return `${machine}; ${peers.join(', ')}; commit ${facts.commit}; medians of ${rounds} rounds of ${seconds} s.`
}

export function verdictText({ claim, measured, holds }: Verdict): string {
  return `${holds ? 'holds' : 'DOES NOT HOLD'}: ${claim} (measured ${fixed(measured, 2)})`
}
