/** `npm run bench`: runs the benchmarks, keeps every run as JSON in bench/results/, prints medians, and with `--write` puts them into bench/README.md. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { benchDirect } from './direct.ts'
import { findProgram, machineFacts, ROOT } from './machine.ts'
import { type BenchOptions, parseOptions, USAGE } from './options.ts'
import { benchQueue } from './queue.ts'
import { directTable, factsText, queueTable, type Verdict, verdictText } from './tables.ts'

const README = path.join(import.meta.dirname, 'README.md')
const RESULTS = path.join(import.meta.dirname, 'results')

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->`. */
export function filledIn(text: string, name: string, content: string): string {
  const [from, to] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const start = text.indexOf(from)
  const end = text.indexOf(to)
  if (start === -1 || end < start) throw new Error(`no place for "${name}" between ${from} and ${to}`)
  return `${text.slice(0, start + from.length)}\n${content}\n${text.slice(end)}`
}

async function runOne(name: string, options: BenchOptions): Promise<Verdict[]> {
  const facts = machineFacts()
  const at = new Date().toISOString()
  const runs = name === 'direct' ? await benchDirect(options) : await benchQueue(options)
  const { only: _, say: __, ...chosen } = options
  mkdirSync(RESULTS, { recursive: true })
  const file = `${name}-${at.slice(0, 19).replaceAll(':', '')}Z.json`
  writeFileSync(path.join(RESULTS, file), `${JSON.stringify({ name, at, facts, options: chosen, runs }, null, 1)}\n`)
  const { text, verdicts } =
    name === 'direct' ? directTable(runs as Parameters<typeof directTable>[0]) : queueTable(runs as Parameters<typeof queueTable>[0])
  const report = [
    text,
    '',
    factsText(facts, options.rounds, options.seconds),
    '',
    ...verdicts.map((verdict) => `- ${verdictText(verdict)}`),
    '',
    `Raw data: \`results/${file}\``,
  ].join('\n')
  process.stdout.write(`\n${report}\n\n`)
  if (options.write) {
    writeFileSync(README, filledIn(readFileSync(README, 'utf8'), name, report))
    execFileSync(path.join(ROOT, 'node_modules', '.bin', 'biome'), ['format', '--write', README], { stdio: 'ignore' })
  }
  return verdicts
}

async function main(): Promise<number> {
  let options: BenchOptions
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}`)
    return 2
  }
  for (const program of ['wrk', 'nginx', 'taskset']) {
    if (findProgram(program) !== undefined) continue
    process.stdout.write(`benchmarks skipped: ${program} is not installed (on Debian: apt-get install wrk nginx haproxy util-linux)\n`)
    return 0
  }
  const verdicts: Verdict[] = []
  for (const name of options.only) verdicts.push(...(await runOne(name, options)))
  return verdicts.every((verdict) => verdict.holds) ? 0 : 1
}

if (import.meta.main) process.exitCode = await main()
