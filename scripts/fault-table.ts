/** The table in `docs/guarantees.md` that says what clients see of failing servers: made from the cases that the tests look at. */
import { FAULT_CASES, type FaultCase, OUTCOMES, type Seen } from '../test/faults/cases.ts'

const BEGIN = '<!-- faults: generated from test/faults/cases.ts, do not edit -->'
const END = '<!-- end of faults -->'

/** The page with the table as it must be now. */
export function withFaultTable(page: string): string {
  const from = page.indexOf(BEGIN)
  const to = page.indexOf(END)
  if (from < 0 || to < from) throw new Error(`docs/guarantees.md has no place for the table of faults: ${BEGIN} … ${END}`)
  return `${page.slice(0, from)}${BEGIN}\n\n${faultTable()}\n${page.slice(to)}`
}

function faultTable(): string {
  const head = [
    'servers',
    '1,000 requests',
    ...OUTCOMES.map((outcome) => (outcome === 'well' ? 'answered well' : outcome)),
    'executed twice',
    'then it is',
  ]
  const rows = FAULT_CASES.flatMap((row) => [
    [row.title + configured(row), 'idempotent', ...cells(row.idempotent), '', `\`${row.then}\``],
    ['', 'POST', ...cells(row.once), '**0**', ''],
  ])
  return aligned([head, ...rows])
}

/** As the formatter would have it. */
function aligned([head, ...rows]: readonly [string[], ...string[][]]): string {
  const widths = head.map((title, column) => Math.max(...[title, ...rows.map((row) => row[column] ?? '')].map(({ length }) => length)))
  const line = (row: readonly string[]): string => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |\n`
  return `${line(head)}${line(widths.map((width) => '-'.repeat(width)))}${rows.map(line).join('')}`
}

function configured({ pool, config }: FaultCase): string {
  const said = [pool, ...(config?.split('\n') ?? [])].filter((text) => text !== undefined)
  return said.length === 0 ? '' : ` (\`${said.join('`, `')}\`)`
}

function cells(seen: Seen): string[] {
  const others = OUTCOMES.filter((outcome) => outcome !== 'well')
  const isAll = others.every((outcome) => (seen[outcome] ?? 'none') === 'none')
  const shares = others.map((outcome) => (seen[outcome] === undefined ? '0' : seen[outcome]))
  return [isAll ? '**all**' : 'the others', ...shares]
}
