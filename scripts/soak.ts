/**
 * `npm run soak [-- name …]`: the long forms (SOAK=1 in the environment tells a test to go the whole way), one file at a time so that
 * their measurements do not disturb each other.
 */
import { runTests } from './run-tests.ts'

process.env['SOAK'] = '1'
process.exitCode = await runTests({
  patterns: [
    'test/soak/**/*.test.ts',
    'test/crash/**/*.test.ts',
    'test/simulation/**/*.test.ts',
    'test/conformance/embedded.test.ts',
    'test/property/http1-differential.test.ts',
    'test/integration/server-failure.test.ts',
    'test/integration/spill-outage.test.ts',
  ],
  filters: process.argv.slice(2),
  concurrency: 1,
  timeoutMs: 3_600_000,
  figures: true,
})
