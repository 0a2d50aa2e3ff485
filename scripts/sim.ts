/**
 * `npm run sim -- --seeds 100000 [--from 1] [--jobs 2]`: simulates the whole gateway with one seed after another, in worker processes,
 * and prints how fast that goes, the seeds that break a promise, and how to see each of them. With one seed it prints its whole history.
 */
import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { failureText } from '../test/simulation/failure-text.ts'
import { simulate } from '../test/simulation/simulate.ts'

/** What a worker is given at once; small enough that the last ones end together. */
const SEEDS_AT_ONCE = 20
const REPORT_EVERY_MS = 10_000

interface Part {
  readonly from: number
  readonly seeds: number
}

interface Done {
  readonly seeds: number
  readonly virtualMs: number
  readonly jobs: number
  readonly failures: readonly { readonly seed: number; readonly text: string }[]
}

const { values } = parseArgs({
  options: { seeds: { type: 'string' }, from: { type: 'string' }, jobs: { type: 'string' }, worker: { type: 'boolean' } },
})

// Whoever starts this script may have a channel to it as well, so that is not what makes a worker.
if (values.worker === true) process.on('message', (part: Part) => void work(part).then((done) => process.send?.(done)))
else process.exitCode = await main(count('seeds', 500), count('from', 1))

function count(name: 'seeds' | 'from' | 'jobs', fallback: number): number {
  const value = values[name] === undefined ? fallback : Number(values[name])
  if (Number.isSafeInteger(value) && value > 0) return value
  process.stderr.write(`--${name} is a whole number above 0, not ${values[name]}\n`)
  process.exit(2)
}

async function work({ from, seeds }: Part): Promise<Done> {
  const failures: { seed: number; text: string }[] = []
  let virtualMs = 0
  let jobs = 0
  for (let seed = from; seed < from + seeds; seed++) {
    const result = await simulate(seed)
    virtualMs += result.virtualMs
    jobs += result.jobs
    if (result.violations.length > 0) failures.push({ seed, text: failureText(result) })
  }
  return { seeds, virtualMs, jobs, failures }
}

async function main(seeds: number, from: number): Promise<number> {
  if (seeds === 1) return one(from)
  const workers = Math.min(count('jobs', Math.min(2, availableParallelism())), Math.ceil(seeds / SEEDS_AT_ONCE))
  const startedAt = performance.now()
  const sum = { seeds: 0, virtualMs: 0, jobs: 0, failed: [] as number[] }
  let next = from
  const report = (): void => {
    const seconds = (performance.now() - startedAt) / 1000
    const rate = (sum.seeds / seconds).toFixed(1)
    const lived = (sum.virtualMs / 3_600_000).toFixed(1)
    process.stdout.write(
      `${sum.seeds} of ${seeds} seeds, ${rate} seeds/s, ${lived} virtual hours, ${sum.jobs} jobs, ${sum.failed.length} failing\n`,
    )
  }
  const timer = setInterval(report, REPORT_EVERY_MS)
  const hand = (worker: ReturnType<typeof fork>): void => {
    if (next >= from + seeds) {
      worker.disconnect()
      return
    }
    const part: Part = { from: next, seeds: Math.min(SEEDS_AT_ONCE, from + seeds - next) }
    next += part.seeds
    worker.send(part)
  }
  await Promise.all(
    Array.from({ length: workers }, () => {
      const worker = fork(fileURLToPath(import.meta.url), ['--worker'])
      worker.on('message', (done: Done) => {
        sum.seeds += done.seeds
        sum.virtualMs += done.virtualMs
        sum.jobs += done.jobs
        for (const { seed, text } of done.failures) {
          sum.failed.push(seed)
          process.stdout.write(`${text}\n`)
        }
        hand(worker)
      })
      hand(worker)
      return new Promise<void>((resolve) => void worker.on('exit', () => resolve()))
    }),
  )
  clearInterval(timer)
  report()
  if (sum.failed.length > 0) process.stdout.write(`failing: ${sum.failed.toSorted((a, b) => a - b).join(' ')}\n`)
  return sum.failed.length === 0 && sum.seeds === seeds ? 0 : 1
}

async function one(seed: number): Promise<number> {
  const result = await simulate(seed)
  for (const line of result.history.last(result.history.length)) process.stdout.write(`${line}\n`)
  for (const { name, detail } of result.violations) process.stdout.write(`broken: ${name}: ${detail}\n`)
  process.stdout.write(
    `seed ${seed}: ${result.jobs} jobs, ${result.runs} runs, ${Math.round(result.virtualMs)} virtual ms, history ${result.hash}\n`,
  )
  return result.violations.length === 0 ? 0 : 1
}
