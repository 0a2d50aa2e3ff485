/** The medians of the overload benchmark as Markdown, with the bars that were set. */
import { fixed, median, runsText, table, type Verdict } from '../tables.ts'
import { ANSWERS, type AnswerKind, type RefusalRun } from './refusals.ts'
import type { OverloadRun } from '../overload.ts'

const GOODPUT_MIN = 0.85
const BACK_MAX_MS = 2000
const WAIT_MS = 2000
/** Times the p99 of calm times, beside the wait. */
const P99_TIMES = 3
const RSS_GROWTH_MAX = 1.25
/** Of what it costs to serve. */
const REFUSAL_MAX = 0.6
const MIB = 2 ** 20

export function overloadTable(runs: readonly OverloadRun[], refusals: readonly RefusalRun[] = []): { text: string; verdicts: Verdict[] } {
  const arms = [...new Set(runs.map(({ arm }) => arm))]
  const of = (arm: string): OverloadRun[] => runs.filter((run) => run.arm === arm && !run.void)
  const middle = (arm: string, pick: (run: OverloadRun) => number): number => median(of(arm).map(pick))
  const backMs = (run: OverloadRun): number => run.backMs ?? Number.POSITIVE_INFINITY
  const rows = arms.map((arm) => {
    const figure = (pick: (run: OverloadRun) => number, digits = 0): string => {
      const value = middle(arm, pick)
      return Number.isFinite(value) ? fixed(value, digits) : 'never'
    }
    return [
      arm,
      figure((run) => run.goodput * 100),
      figure((run) => run.calmP99Ms),
      figure((run) => run.servedP50Ms),
      figure((run) => run.servedP99Ms),
      figure((run) => run.refusedP50Ms),
      figure((run) => run.refusedP99Ms),
      figure(backMs),
      figure((run) => run.cpuCalm * 100),
      figure((run) => run.cpuLoad * 100),
      [figure((run) => run.rssCalm / MIB), ...[0, 1, 2].map((n) => figure((run) => (run.rssThirds[n] ?? Number.NaN) / MIB))].join(', '),
      runsText(runs.filter((run) => run.arm === arm)),
    ]
  })
  const head = [
    ...['proxy', 'goodput %', 'calm p99 ms', 'served p50 ms', 'served p99 ms', 'refused p50 ms', 'refused p99 ms', 'back ms'],
    ...['CPU calm %', 'CPU overload %', 'RSS MiB: calm, thirds of the overload', 'runs'],
  ]
  const costs = refusalTable(refusals)
  const text = [table(head, rows), ...costs.text].join('\n\n')
  if (of('spillway').length === 0) return { text, verdicts: costs.verdicts }
  const ours = (pick: (run: OverloadRun) => number): number => middle('spillway', pick)
  const p99Max = P99_TIMES * ours((run) => run.calmP99Ms) + WAIT_MS
  const [goodput, p99, back] = [ours((run) => run.goodput), ours((run) => run.servedP99Ms), ours(backMs)]
  const growth = ours(({ rssThirds: [first, , last] }) => last / first)
  const verdicts = [
    { claim: `goodput: at least ${GOODPUT_MIN} of capacity`, measured: goodput, holds: goodput >= GOODPUT_MIN },
    { claim: `p99 of who is served: at most 3 × calm, plus the wait (${fixed(p99Max, 0)} ms)`, measured: p99, holds: p99 <= p99Max },
    { claim: `RSS, last third of the overload ÷ first: at most ${RSS_GROWTH_MAX}`, measured: growth, holds: growth <= RSS_GROWTH_MAX },
    { claim: `as before: within ${BACK_MAX_MS} ms`, measured: back, holds: back <= BACK_MAX_MS },
  ]
  return { text, verdicts: [...verdicts, ...costs.verdicts] }
}

const ANSWER_TEXT: Readonly<Record<AnswerKind, string>> = {
  served: 'served',
  'full line': 'refused: nobody more may wait',
  guard: 'refused: the gateway itself has too much to do',
}

function refusalTable(runs: readonly RefusalRun[]): { text: string[]; verdicts: Verdict[] } {
  if (runs.length === 0) return { text: [], verdicts: [] }
  const of = (what: AnswerKind): RefusalRun[] => runs.filter((run) => run.what === what && !run.void)
  const cpu = (what: AnswerKind): number => median(of(what).map(({ cpuUsEach }) => cpuUsEach))
  const rows = ANSWERS.map((what) => [
    ANSWER_TEXT[what],
    fixed(cpu(what), 1),
    fixed(cpu(what) / cpu('served'), 2),
    fixed(median(of(what).map(({ perSecond }) => perSecond)), 0),
    runsText(runs.filter((run) => run.what === what)),
  ])
  const verdicts = (['full line', 'guard'] as const).map((what) => {
    const measured = cpu(what) / cpu('served')
    return { claim: `CPU of a refusal (${what}): at most ${REFUSAL_MAX} of serving`, measured, holds: measured <= REFUSAL_MAX }
  })
  return { text: [table(['request, spillway', 'CPU µs each', '÷ served', 'per second', 'runs'], rows)], verdicts }
}
