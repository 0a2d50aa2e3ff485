/**
 * Runs test files with node:test, each in a process of its own, and reports compactly: one line per file, everything about what failed
 * (what the file printed, seeds included), nothing else about what passed, and the counts at the end.
 */
import { globSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { run } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspect } from 'node:util'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

export interface TestRun {
  /** Globs below the repository's root. */
  readonly patterns: readonly string[]
  /** When given, only files whose path holds one of these. */
  readonly filters: readonly string[]
  readonly concurrency: number
  /** For one test; what takes longer hangs. */
  readonly timeoutMs: number
  /** Diagnostics of tests that begin with `figures:` are printed, too. */
  readonly figures: boolean
}

interface Counts {
  tests: number
  passed: number
  failed: number
  skipped: number
}

/** `test:complete` and its kin wrap what was thrown; only the inner error says anything. */
function causeText(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  if (cause instanceof Error) {
    const text = (cause.stack ?? cause.message).replaceAll(/\n *at .*\(?node:.*/g, '')
    // A test of many trials says which one it was, and what happened in it.
    return cause.cause instanceof Error ? `${text}\ncaused by ${causeText(new Error('', { cause: cause.cause }))}` : text
  }
  return typeof cause === 'string' ? cause : inspect(cause)
}

/** What takes longest, then what takes long, as a rule, by folder: begun last, one of them would run on when all others are over. */
const LONG = [
  ...['test/integration/runbook', 'test/soak/backlog', 'test/crash/operations', 'test/faults/', 'test/integration/request-network'],
  ...['test/crash/gateway-kill', 'test/integration/demo', 'test/conformance/embedded-flips', 'test/conformance/embedded-disk-faults'],
  ...['test/integration/worker', 'test/integration/server-failure', 'test/integration/spill-', 'test/browser/', 'test/soak/metastability'],
  ...['test/conformance/embedded', 'test/conformance/faulty', 'test/property/job-store', 'test/simulation/', 'test/soak/'],
  ...['test/crash/', 'test/conformance/', 'test/property/', 'test/integration/'],
]

function longestFirst(a: string, b: string): number {
  const rank = (file: string): number => (LONG.findIndex((start) => file.startsWith(start)) + LONG.length + 1) % (LONG.length + 1)
  return rank(a) - rank(b) || (a < b ? -1 : 1)
}

/** Gives the process exit code. */
export async function runTests(wanted: TestRun): Promise<number> {
  const files = globSync(wanted.patterns as string[], { cwd: ROOT })
    .filter((file) => wanted.filters.length === 0 || wanted.filters.some((filter) => file.includes(filter)))
    .sort(longestFirst)
  if (files.length === 0) {
    process.stdout.write('no test file matches\n')
    return 1
  }
  const startedAt = performance.now()
  const total: Counts = { tests: 0, passed: 0, failed: 0, skipped: 0 }
  const printed = new Map<string, string>()
  const names = new Map<string, string[]>()
  const failures: string[] = []
  const failed = new Set<string>()
  const stream = run({ files, cwd: ROOT, concurrency: wanted.concurrency, timeout: wanted.timeoutMs })
  const keep = ({ file, message }: { readonly file?: string; readonly message: string }): void => {
    // Here node:test names the file as it was given, elsewhere by its whole path.
    const path = resolve(ROOT, file ?? '')
    printed.set(path, (printed.get(path) ?? '') + message)
  }
  stream.on('test:stdout', keep)
  stream.on('test:stderr', keep)
  stream.on('test:start', ({ file, name, nesting }) => {
    // A failure is told with its path of suites; node:test reports only the last name and how deep it stands.
    const path = (names.get(file ?? '') ?? []).slice(0, nesting)
    names.set(file ?? '', [...path, name])
  })
  stream.on('test:fail', ({ file, name, nesting, line, details, todo }) => {
    // A suite that fails only because a test in it failed has been told already.
    if (todo !== undefined || ('failureType' in details.error && details.error.failureType === 'subtestsFailed')) return
    const path = (names.get(file ?? '') ?? []).slice(0, nesting)
    failed.add(resolve(ROOT, file ?? ''))
    failures.push(`FAIL ${relative(ROOT, file ?? '')}:${line ?? 0}  ${[...path, name].join(' > ')}\n${causeText(details.error)}\n`)
  })
  stream.on('test:diagnostic', ({ message }) => {
    if (wanted.figures && message.startsWith('figures: ')) process.stdout.write(`     ${message}\n`)
  })
  stream.on('test:summary', ({ file, success, counts, duration_ms }) => {
    if (file === undefined) return
    total.tests += counts.tests
    total.passed += counts.passed
    total.failed += counts.tests - counts.passed - counts.skipped - counts.todo
    total.skipped += counts.skipped
    const seconds = (duration_ms / 1000).toFixed(1)
    process.stdout.write(`${success ? 'ok  ' : 'FAIL'} ${relative(ROOT, file)}  ${counts.passed}/${counts.tests}  ${seconds}s\n`)
  })
  // The stream ends by being read.
  for await (const event of stream) void event
  for (const file of failed) if (printed.has(file)) failures.push(`printed by ${relative(ROOT, file)}:\n${printed.get(file) ?? ''}`)
  if (failures.length > 0) process.stdout.write(`\n${failures.join('\n')}\n`)
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  process.stdout.write(
    `# files ${files.length}\n# tests ${total.tests}\n# pass ${total.passed}\n# fail ${Math.max(total.failed, failed.size)}\n# skipped ${total.skipped}\n# duration ${seconds}s\n`,
  )
  return failed.size === 0 && total.failed === 0 ? 0 : 1
}
