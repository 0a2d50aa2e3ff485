/**
 * What every npm script goes through: makes a fresh clone runnable and starts the given script on the pinned Node.
 * Plain JavaScript for any Node >= 20, because it runs before there is anything else. It needs no dependency and no install script:
 * the pinned Node comes as an npm package that holds the binary itself. Says one line when it installs, nothing otherwise.
 *
 * usage: node scripts/setup.mjs <script> [arguments]
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
/** The first release with type stripping declared stable. Keep equal to `engines` in package.json. */
const NODE_OLDEST = [24, 12]

function fail(message) {
  process.stderr.write(`spillway: ${message}\n`)
  process.exit(1)
}

function readLock(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages
  } catch {
    return undefined
  }
}

/** npm leaves out optional packages of other platforms, and what only those need: they are in the lock file but rightly not installed. */
function isExpected(entry) {
  const names = (list, value) => list !== undefined && [list].flat().includes(value)
  return !entry.optional || (names(entry.os, process.platform) && names(entry.cpu, process.arch) && entry.libc === undefined)
}

/** npm notes what it installed in node_modules/.package-lock.json; that note is compared with what the repository wants. */
function isInstalled() {
  const wanted = readLock(join(ROOT, 'package-lock.json'))
  if (wanted === undefined) fail('package-lock.json is missing or damaged; restore it with: git checkout package-lock.json')
  const present = readLock(join(ROOT, 'node_modules', '.package-lock.json'))
  if (present === undefined) return false
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || !isExpected(entry)) continue
    if (present[path]?.version !== entry.version || !existsSync(join(ROOT, path))) return false
  }
  return true
}

function install() {
  process.stderr.write('spillway: installing dependencies (npm ci --ignore-scripts), once\n')
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const npmScript = process.env.npm_execpath
  const options = { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }
  const done =
    npmScript !== undefined && /^npm.*\.c?js$/.test(basename(npmScript))
      ? spawnSync(process.execPath, [npmScript, ...args], options)
      : spawnSync('npm', args, options)
  if (done.error) fail(`npm could not be started (${done.error.message}); it comes with Node from https://nodejs.org`)
  if (done.status !== 0) fail(`npm ci failed; nothing was started. npm said:\n${(done.stderr || done.stdout).trim()}`)
}

function findNode() {
  const pinned = join(ROOT, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node')
  if (existsSync(pinned)) return pinned
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > NODE_OLDEST[0] || (major === NODE_OLDEST[0] && minor >= NODE_OLDEST[1])) return process.execPath
  return fail(
    `there is no pinned Node for ${process.platform}-${process.arch} and this one is ${process.versions.node}; ` +
      `install Node >= ${NODE_OLDEST.join('.')} from https://nodejs.org and try again`,
  )
}

function start(node, args) {
  // What has been compiled is kept for the next start, of which the tests make hundreds: each takes half as long with it.
  const env = { NODE_COMPILE_CACHE: join(ROOT, 'node_modules', '.compile-cache'), ...process.env }
  // The channel tells a gateway or a demo that this process is gone, so that they do not outlive it.
  const child = spawn(node, args, { env, stdio: ['inherit', 'inherit', 'inherit', 'ipc'] })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => fail(`${node} could not be started: ${error.message}`))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + constants.signals[signal]))
}

const [script, ...rest] = process.argv.slice(2)
if (script === undefined) fail('usage: node scripts/setup.mjs <script> [arguments]')
if (!isInstalled()) install()
start(findNode(), [resolve(ROOT, script), ...rest])
