/** `npm run bench`: runs the benchmarks, keeps every run as JSON in bench/results/, prints medians, and with `--write` puts them into bench/README.md. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { benchBrokers } from './brokers.ts'
import { redisVersion } from './brokers/redis.ts'
import { brokerVersions } from './brokers/arms.ts'
import { clientVersions } from './brokers/install.ts'
import { benchGlue } from './glue.ts'
import { glueTable } from './glue/table.ts'
import { brokersTable } from './brokers/table.ts'
import { benchDirect } from './direct.ts'
import { benchIdle } from './direct/idle.ts'
import { benchLatency } from './direct/latency.ts'
import { benchThreads, threadsTable } from './direct/threads.ts'
import { idleTable, latencyTable } from './direct/tables.ts'
import { findProgram, type MachineFacts, machineFacts, ROOT } from './machine.ts'
import { type BenchName, type BenchOptions, parseOptions, USAGE } from './options.ts'
import { benchOverload } from './overload.ts'
import { benchRefusals } from './overload/refusals.ts'
import { overloadTable } from './overload/table.ts'
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

interface Outcome {
  readonly runs: readonly object[]
  readonly text: string
  readonly verdicts: readonly Verdict[]
}

interface Benchmark {
  /** Programs without which it is skipped. */
  readonly needs: readonly string[]
  run(options: BenchOptions): Promise<Outcome>
  /** Who took part beside Node, with versions. */
  others(facts: MachineFacts, options: BenchOptions): readonly (string | undefined)[]
}

function httpPrograms({ nginx, haproxy, wrk }: MachineFacts): (string | undefined)[] {
  return [nginx && `nginx ${nginx}`, haproxy && `HAProxy ${haproxy}`, wrk && `wrk ${wrk}`]
}

const BENCHMARKS: Readonly<Record<BenchName, Benchmark>> = {
  direct: {
    needs: ['wrk', 'nginx', 'taskset'],
    run: async (options) => {
      const runs = await benchDirect(options)
      return { runs, ...directTable(runs) }
    },
    others: httpPrograms,
  },
  latency: {
    needs: ['wrk', 'nginx', 'taskset'],
    run: async (options) => {
      const runs = await benchLatency(options)
      return { runs, text: latencyTable(runs), verdicts: [] }
    },
    others: httpPrograms,
  },
  idle: {
    needs: ['nginx', 'taskset'],
    run: async (options) => {
      const runs = await benchIdle(options)
      return { runs, text: idleTable(runs), verdicts: [] }
    },
    others: httpPrograms,
  },
  threads: {
    needs: ['wrk', 'nginx', 'taskset'],
    run: async (options) => {
      const runs = await benchThreads(options)
      return { runs, text: threadsTable(runs), verdicts: [] }
    },
    others: httpPrograms,
  },
  queue: {
    needs: ['wrk', 'nginx', 'taskset'],
    run: async (options) => {
      const runs = await benchQueue(options)
      return { runs, ...queueTable(runs) }
    },
    others: httpPrograms,
  },
  glue: {
    needs: ['wrk', 'nginx', 'redis-server', 'taskset'],
    run: async (options) => {
      const runs = await benchGlue(options)
      return { runs, ...glueTable(runs) }
    },
    others: (facts) => [
      ...httpPrograms(facts),
      redisVersion(),
      `Express ${expressVersion()}`,
      ...clientVersions().filter((each) => each.startsWith('bullmq')),
    ],
  },
  overload: {
    needs: ['taskset'],
    run: async (options) => {
      const [runs, refusals] = [await benchOverload(options), await benchRefusals(options)]
      return { runs: [...runs, ...refusals], ...overloadTable(runs, refusals) }
    },
    others: httpPrograms,
  },
  brokers: {
    needs: ['taskset'],
    run: async (options) => {
      const runs = await benchBrokers(options)
      return { runs, ...brokersTable(runs) }
    },
    others: (_, options) => [...brokerVersions(options.brokers), ...clientVersions()],
  },
}

function expressVersion(): string {
  const { devDependencies } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    devDependencies: Record<string, string>
  }
  return devDependencies['express'] ?? ''
}

async function runOne(name: BenchName, options: BenchOptions): Promise<readonly Verdict[]> {
  const benchmark = BENCHMARKS[name]
  const facts = machineFacts()
  const at = new Date().toISOString()
  const { runs, text, verdicts } = await benchmark.run(options)
  const { only: _, say: __, ...chosen } = options
  const others = benchmark.others(facts, options).filter((other) => other !== undefined)
  mkdirSync(RESULTS, { recursive: true })
  const file = `${name}-${at.slice(0, 19).replaceAll(':', '')}Z.json`
  writeFileSync(path.join(RESULTS, file), `${JSON.stringify({ name, at, facts, others, options: chosen, runs }, null, 1)}\n`)
  const report = [
    text,
    '',
    factsText(facts, others, options),
    '',
    ...(verdicts.length === 0 ? [] : [...verdicts.map((verdict) => `- ${verdictText(verdict)}`), '']),
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
  const verdicts: Verdict[] = []
  for (const name of options.only) {
    const missing = BENCHMARKS[name].needs.filter((program) => findProgram(program) === undefined)
    if (missing.length === 0) verdicts.push(...(await runOne(name, options)))
    else
      process.stdout.write(
        `${name} skipped: ${missing.join(', ')} not installed (on Debian: apt-get install wrk nginx haproxy redis-server util-linux)\n`,
      )
  }
  return verdicts.every((verdict) => verdict.holds) ? 0 : 1
}

if (import.meta.main) process.exitCode = await main()
