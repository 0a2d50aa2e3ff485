/**
 * What is on call with us holds together: every alert has its page and every page an alert, and rules, dashboard and pages name only metrics,
 * labels and commands that exist. Expressions are read with a reader of names, not with a whole grammar: it must find what is misspelt.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { METRICS } from '../../src/telemetry/names.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly runbook: string }
}

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly targets?: readonly { readonly expr: string }[]
}

interface Dashboard {
  readonly title: string
  readonly panels: readonly Panel[]
  readonly annotations: { readonly list: readonly { readonly expr: string }[] }
}

const rules = (parse(read('ops/alerts.yaml')) as { readonly groups: readonly { readonly rules: readonly Rule[] }[] }).groups.flatMap(
  (group) => group.rules,
)
const dashboard = JSON.parse(read('ops/grafana.json')) as Dashboard
const queries = [...dashboard.panels.flatMap(({ targets = [] }) => targets), ...dashboard.annotations.list].map(({ expr }) => expr)

/** What Prometheus puts on every series of a target. */
const TARGET_LABELS = ['instance', 'job']
const NOT_METRICS = new Set([
  ...['sum', 'min', 'max', 'avg', 'count', 'topk', 'rate', 'increase', 'changes', 'histogram_quantile', 'predict_linear', 'label_replace'],
  ...['avg_over_time', 'vector', 'and', 'or', 'unless', 'offset', 'bool'],
])
const GROUPING = /\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g

const QUOTED = /"(?:[^"\\]|\\.)*"/g
const NAME_AND_MATCHERS = /"(?:[^"\\]|\\.)*"|\b\d[\w.]*|\b([A-Za-z_:][\w:]*)\b\s*(\{(?:[^}"]|"(?:[^"\\]|\\.)*")*\})?/g

/** The labels that a metric has; undefined: there is no such metric. */
function labelsOf(name: string): readonly string[] | undefined {
  if (name === 'up') return TARGET_LABELS
  const own = (metric: string): readonly string[] | undefined =>
    Object.hasOwn(METRICS, metric) ? (METRICS[metric as keyof typeof METRICS].labels?.split(' ') ?? []) : undefined
  const exact = own(name)
  if (exact !== undefined) return METRICS[name as keyof typeof METRICS].type === 'histogram' ? undefined : [...exact, ...TARGET_LABELS]
  const [, base = '', part] = /^(.+)_(bucket|sum|count)$/.exec(name) ?? []
  const labels = own(base)
  if (labels === undefined || METRICS[base as keyof typeof METRICS].type !== 'histogram') return undefined
  return [...labels, ...TARGET_LABELS, ...(part === 'bucket' ? ['le'] : [])]
}

/** What is wrong with the names in an expression. */
function problemsOf(expression: string): readonly string[] {
  const problems: string[] = []
  const grouped = [...expression.matchAll(GROUPING)].flatMap((match) => (match[2] as string).split(',').map((label) => label.trim()))
  const rest = expression.replaceAll(GROUPING, ' ')
  const known = new Set<string>()
  // Names with their matchers; what stands in quotes, numbers with units and variables of Grafana are no names.
  for (const [, name = '', matchers = ''] of rest.replaceAll(/\[[^\]]*\]/g, ' ').matchAll(NAME_AND_MATCHERS)) {
    if (name === '' || NOT_METRICS.has(name)) continue
    const labels = labelsOf(name)
    if (labels === undefined) problems.push(`there is no metric ${name}`)
    for (const label of labels ?? []) known.add(label)
    for (const [, label = ''] of matchers.replaceAll(QUOTED, '""').matchAll(/([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)/g)) {
      if (labels?.includes(label) === false) problems.push(`${name} has no label ${label}`)
    }
  }
  if (known.size === 0 && problems.length === 0) problems.push('it asks for no metric')
  for (const label of grouped) if (label !== '' && !known.has(label)) problems.push(`nothing in it has the label ${label}`)
  return problems
}

/** `SpillwayPoolDown` -> `pool-down`. */
function pageOf(alert: string): string {
  return alert
    .replace(/^Spillway/, '')
    .replaceAll(/(?<!^)([A-Z])/g, '-$1')
    .toLowerCase()
}

describe('alerts', () => {
  test('have names of their own, a severity, a summary, and the page of their name', () => {
    assert.ok(rules.length > 20)
    assert.equal(new Set(rules.map(({ alert }) => alert)).size, rules.length)
    for (const { alert, labels, annotations, expr } of rules) {
      assert.match(alert, /^Spillway[A-Z]/)
      assert.match(labels.severity, /^(critical|warning)$/, alert)
      assert.ok(annotations.summary.length > 10 && expr.length > 5, alert)
      assert.equal(annotations.runbook, `docs/runbook/${pageOf(alert)}.md`, alert)
    }
  })

  for (const { alert, expr, annotations } of rules) {
    test(`${alert} asks for metrics and labels that exist`, () => {
      assert.deepEqual(problemsOf(expr), [])
      // A label that the expression has taken away is empty in the summary.
      const told = [...annotations.summary.matchAll(/\$labels\.(\w+)/g)].map(([, label]) => label as string)
      const kept = /\b(?:sum|min) by \(([^)]*)\)/
        .exec(expr)?.[1]
        ?.split(',')
        .map((label) => label.trim())
      if (kept !== undefined)
        assert.deepEqual(
          told.filter((label) => !kept.includes(label)),
          [],
        )
    })
  }
})

describe('the dashboard', () => {
  test('asks for metrics and labels that exist', () => {
    assert.ok(queries.length > 40)
    for (const query of queries) assert.deepEqual(problemsOf(query), [], query)
  })

  test('has panels of their own numbers and titles that do not overlap', () => {
    const { panels } = dashboard
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length)
    assert.equal(new Set(panels.map(({ title }) => title)).size, panels.length)
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    )
    assert.equal(new Set(cells).size, cells.length)
    assert.ok(panels.every(({ gridPos: { x, w } }) => x + w <= 24))
  })
})

describe('the runbook', () => {
  const pages = globSync('docs/runbook/*.md', { cwd: ROOT }).map((path) => basename(path, '.md'))
  const text = (page: string): string => read(`docs/runbook/${page}.md`)

  test('has a page for each alert, and no page without one', () => {
    assert.deepEqual(pages.filter((page) => page !== 'README').sort(), rules.map(({ alert }) => pageOf(alert)).sort())
  })

  test('is reached from its first page, and its links lead somewhere', () => {
    for (const { alert } of rules) assert.ok(text('README').includes(`(${pageOf(alert)}.md)`), `${alert} is not in the README`)
    for (const page of pages) {
      for (const [, target = ''] of text(page).matchAll(/\]\(([^)#]+)\)/g)) {
        assert.doesNotThrow(() => readFileSync(join(ROOT, 'docs', 'runbook', target)), `${page}: ${target}`)
      }
    }
  })

  for (const { alert } of rules) {
    test(`the page of ${alert} says what it means, how to see it, why, what to do and when it is over`, () => {
      const page = text(pageOf(alert))
      const [title, ...sections] = page.split('\n').filter((line) => line.startsWith('#'))
      assert.equal(title, `# ${alert}`)
      assert.deepEqual(sections, ['## See it', '## Likely causes', '## What to do', '## Over when'])
      assert.ok((page.split('\n')[2] ?? '').length > 40, 'it opens with what it means')
    })
  }

  test('names only metrics that exist', () => {
    for (const page of pages) {
      for (const [, name = ''] of text(page).matchAll(/\b((?:spillway|process|nodejs)_[a-z_]+)\b/g)) {
        assert.ok(Object.hasOwn(METRICS, name) || labelsOf(name) !== undefined, `${page}: there is no metric ${name}`)
      }
    }
  })

  test('covers the eight failures that are tried on a running gateway', () => {
    for (const words of ['servers are dead', 'kills servers', 'stand still', 'disk is full', 'is slow', 'runs and runs', 'jobs wait']) {
      assert.ok(text('README').includes(words), words)
    }
    assert.ok(text('README').includes('change of the configuration'))
  })
})

describe('canary: a name that is misspelt is found', () => {
  const cases: Readonly<Record<string, readonly [expression: string, problem: string]>> = {
    metric: ['sum(rate(spillway_request_total[5m])) > 1', 'there is no metric spillway_request_total'],
    'metric beside a right one': ['spillway_ready == 0 or spillway_redy == 0', 'there is no metric spillway_redy'],
    'label in braces': ['spillway_jobs{state="queued"} > 1', 'spillway_jobs has no label state'],
    'label of a grouping': ['sum by (queues) (spillway_jobs)', 'nothing in it has the label queues'],
    'histogram without its part': ['rate(spillway_store_sync_seconds[5m])', 'there is no metric spillway_store_sync_seconds'],
    'part of what is no histogram': ['spillway_ready_bucket', 'there is no metric spillway_ready_bucket'],
    'bucket label elsewhere': ['sum by (le) (spillway_ready)', 'nothing in it has the label le'],
    nothing: ['vector(1)', 'it asks for no metric'],
  }
  for (const [name, [expression, problem]] of Object.entries(cases)) {
    test(name, () => assert.deepEqual(problemsOf(expression), [problem]))
  }

  test('and what is right is left alone', () => {
    assert.deepEqual(problemsOf('histogram_quantile(0.9, sum by (instance, le) (rate(spillway_store_sync_seconds_bucket[5m]))) > 0.25'), [])
    assert.deepEqual(problemsOf('spillway_jobs{queue="a{b}", status=~"x|y"} offset 15m unless on (queue) spillway_queue_paused == 1e3'), [])
  })
})
