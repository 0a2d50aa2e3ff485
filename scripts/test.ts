/**
 * `npm test [-- name …]`: all tests, or those whose path holds one of the names. SEED in the environment replays random tests.
 */
import { availableParallelism } from 'node:os'
import { runTests } from './run-tests.ts'

process.exitCode = await runTests({
  patterns: ['src/**/*.test.ts', 'test/**/*.test.ts'],
  filters: process.argv.slice(2),
  // Nearly half of the time a test waits for somebody.
  concurrency: availableParallelism() * 2,
  timeoutMs: 300_000,
  figures: false,
})
