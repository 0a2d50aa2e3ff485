/** Installs the brokers' client libraries into `bench/node_modules` when they are missing: exact versions, no install scripts. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'

const FOLDER = path.dirname(import.meta.dirname)

interface Lock {
  readonly packages: Readonly<Record<string, { readonly version?: string; readonly optional?: boolean }>>
}

function readLock(file: string): Lock | undefined {
  try {
    return JSON.parse(readFileSync(path.join(FOLDER, file), 'utf8')) as Lock
  } catch {
    return undefined
  }
}

/** npm leaves optional packages of other platforms out. */
export function areClientsInstalled(): boolean {
  const present = readLock('node_modules/.package-lock.json')
  const wanted = Object.entries(readLock('package-lock.json')?.packages ?? {})
  return wanted.every(([place, { version, optional }]) => {
    if (place === '' || optional === true) return true
    return present?.packages[place]?.version === version && existsSync(path.join(FOLDER, place))
  })
}

/** Throws with npm's own words. */
export function installClients(say: (line: string) => void): void {
  if (areClientsInstalled()) return
  say('installing the clients of the brokers into bench/node_modules (npm ci --ignore-scripts), once')
  const npm = process.env['npm_execpath']
  const [program, first] = npm?.endsWith('.js') === true ? [process.execPath, [npm]] : ['npm', []]
  const args = [...first, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd: FOLDER, encoding: 'utf8' })
  if (status !== 0) throw new Error(`npm ci failed in bench/: ${(error?.message ?? (stderr || stdout)).trim()}`)
}

/** `amqplib 2.3.1`, … */
export function clientVersions(): string[] {
  const { dependencies } = JSON.parse(readFileSync(path.join(FOLDER, 'package.json'), 'utf8')) as { dependencies: Record<string, string> }
  return Object.entries(dependencies).map(([name, version]) => `${name} ${version}`)
}
