/** `scripts/setup.mjs` in a clone of nothing: a lock file, an npm that only writes down how it was called, and a script to run. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'

const SETUP = join(import.meta.dirname, '..', '..', 'scripts', 'setup.mjs')
const ELSEWHERE = process.platform === 'win32' ? 'linux' : 'win32'
let folder = ''

interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function write(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true })
  writeFileSync(join(folder, path), text, { mode })
}

function lock(version: string): string {
  const packages = {
    '': { name: 'x' },
    'node_modules/a': { version },
    'node_modules/elsewhere': { version: '1.0.0', optional: true, os: [ELSEWHERE] },
    'node_modules/needed-elsewhere': { version: '1.0.0', optional: true },
  }
  return JSON.stringify({ packages })
}

/** The environment of a user, not that of the npm which may be running this test. */
function environment(): NodeJS.ProcessEnv {
  const { npm_execpath: _, ...rest } = process.env
  return { ...rest, PATH: `${join(folder, 'bin')}${delimiter}${process.env['PATH'] ?? ''}` }
}

function setup(...args: string[]): Outcome {
  return spawnSync(process.execPath, [join(folder, 'scripts', 'setup.mjs'), ...args], { encoding: 'utf8', env: environment(), cwd: folder })
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-setup-'))
  mkdirSync(join(folder, 'scripts'))
  copyFileSync(SETUP, join(folder, 'scripts', 'setup.mjs'))
  write('package-lock.json', lock('1.0.0'))
  write('main.mjs', 'console.log(JSON.stringify(process.argv.slice(2))); process.exitCode = 7')
  const install = 'mkdir -p node_modules/a && cp package-lock.json node_modules/.package-lock.json'
  write('bin/npm', `#!/bin/sh\necho "$@" >> called\n${install}\n`, 0o755)
})
afterEach(() => rmSync(folder, { recursive: true }))

const LINE = 'spillway: installing dependencies (npm ci --ignore-scripts), once\n'
const RAN = { status: 7, stdout: '["x","--y"]\n', stderr: '' }

function outcome({ status, stdout, stderr }: Outcome): Outcome {
  return { status, stdout, stderr }
}

test('a fresh clone is installed with one line, without install scripts; then nothing more is said', () => {
  assert.deepEqual(outcome(setup('main.mjs', 'x', '--y')), { ...RAN, stderr: LINE })
  assert.match(readFileSync(join(folder, 'called'), 'utf8'), /^ci --ignore-scripts /)
  assert.deepEqual(outcome(setup('main.mjs', 'x', '--y')), RAN)
})

test('a changed lock file, and a package that is gone, are installed again', () => {
  setup('main.mjs')
  write('package-lock.json', lock('1.0.1'))
  assert.equal(setup('main.mjs').stderr, LINE)
  rmSync(join(folder, 'node_modules', 'a'), { recursive: true })
  assert.equal(setup('main.mjs').stderr, LINE)
})

test('when npm fails, what it said is shown and nothing is started', () => {
  write('bin/npm', '#!/bin/sh\necho "no network" >&2\nexit 3\n', 0o755)
  const expected = { status: 1, stdout: '', stderr: `${LINE}spillway: npm ci failed; nothing was started. npm said:\nno network\n` }
  assert.deepEqual(outcome(setup('main.mjs')), expected)
})

test('the pinned Node goes before the own one', () => {
  setup('main.mjs')
  write(`node_modules/node-${process.platform}-${process.arch}/bin/node`, '#!/bin/sh\necho pinned "$2"\n', 0o755)
  assert.equal(setup('main.mjs', 'x').stdout, 'pinned x\n')
})

test('a signal reaches the script, and its exit code comes back', async () => {
  setup('main.mjs')
  write('main.mjs', "process.on('SIGTERM', () => process.exit(5)); console.log('ready'); setInterval(() => {}, 1000)")
  const child = spawn(process.execPath, [join(folder, 'scripts', 'setup.mjs'), 'main.mjs'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: environment(),
  })
  child.stdout.once('data', () => child.kill('SIGTERM'))
  assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 5)
})

test('a damaged lock file is told, not installed from', () => {
  write('package-lock.json', '{')
  const { status, stderr } = setup('main.mjs')
  assert.deepEqual(
    [status, stderr],
    [1, 'spillway: package-lock.json is missing or damaged; restore it with: git checkout package-lock.json\n'],
  )
  assert.ok(!existsSync(join(folder, 'called')))
})
