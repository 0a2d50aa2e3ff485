/**
 * `npm run check`: everything that can be said about the code without running it. All checks run, also after one has failed;
 * a check that is happy says nothing. Exit code 1 when any of them is not.
 */
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { refreshGenerated } from './generated.ts'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

interface Check {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** Lines of output that do not count. When only such lines are left, the check passes. */
  readonly ignore?: RegExp
}

/**
 * `isolatedDeclarations` is how tsc can insist on written return types of what is exported. Its wish for written types of *variables* is
 * not ours: a config schema or a registry is the one place where its type stands. Those complaints (all TS90xx but functions') are dropped.
 */
const TS_VARIABLE_TYPES = /error TS90(?!07|08|09)\d\d:/

const CHECKS: readonly Check[] = [
  { name: 'types', command: 'tsc', args: ['-p', '.', '--pretty', 'false', '--isolatedDeclarations', 'true'], ignore: TS_VARIABLE_TYPES },
  { name: 'pages', command: 'tsc', args: ['-p', 'examples/tsconfig.pages.json', '--pretty', 'false'] },
  { name: 'lint', command: 'oxlint', args: ['--type-aware', '--quiet', '--format=unix'] },
  { name: 'format', command: 'biome', args: ['format', '--colors=off', '.'] },
  { name: 'unused', command: 'knip', args: ['--no-progress'] },
]

async function run(check: Check): Promise<string> {
  const child = spawn(join(ROOT, 'node_modules', '.bin', check.command), check.args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  return await new Promise((resolve) => {
    child.on('error', (error) => resolve(`${check.command} could not be started: ${error.message}\n`))
    child.on('close', (code) => {
      if (code === 0) return resolve('')
      const lines = output.split('\n').filter((line) => line !== '' && !check.ignore?.test(line))
      if (lines.length > 0) return resolve(`${lines.join('\n')}\n`)
      resolve(check.ignore !== undefined && output !== '' ? '' : `${check.command} ended with code ${code}\n`)
    })
  })
}

// A stale file has been written anew by this, and counts as a failure, so that it gets committed.
const stale = refreshGenerated()
const results = await Promise.all(CHECKS.map(run))
for (const [i, check] of CHECKS.entries()) if (results[i] !== '') process.stdout.write(`== ${check.name}\n${results[i]}\n`)
for (const path of stale) process.stdout.write(`== generated\n${path} was stale and has been written anew: commit it\n\n`)
const failed = [...CHECKS.filter((_, i) => results[i] !== '').map((check) => check.name), ...(stale.length > 0 ? ['generated'] : [])]
const names = [...CHECKS.map((check) => check.name), 'generated'].join(', ')
process.stdout.write(failed.length === 0 ? `check: ${names}: ok\n` : `check: failed: ${failed.join(', ')}\n`)
process.exitCode = failed.length === 0 ? 0 : 1
