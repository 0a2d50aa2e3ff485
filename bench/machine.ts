/**
 * Processes, cores and what they cost. Everything that is measured runs as a process of its own, pinned to a core,
 * and its CPU time is read from /proc: on few cores, requests per second mostly measure the client, CPU per request does not.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { type AddressInfo, connect, createServer } from 'node:net'
import path from 'node:path'
import process from 'node:process'

export const ROOT: string = path.dirname(import.meta.dirname)

const TASKSET = findProgram('taskset') ?? 'taskset'

/** The unit of CPU time in /proc/PID/stat. */
const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

export interface Started {
  readonly pid: number
  readonly process: ChildProcess
  /** What it wrote to both outputs, the last 8 KiB. */
  output(): string
  stop(signal?: NodeJS.Signals): Promise<void>
}

/** First of the names that is on the PATH (or in /usr/sbin, which a user's PATH may lack). */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin']
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file))
}

/** One core (`0`) or several (`0,1`), as taskset takes them. */
export type Cores = number | string

export interface StartOptions {
  /** Added to our own. */
  readonly env?: Readonly<Record<string, string>>
  /** Opens a channel for messages. */
  readonly channel?: boolean
  /** Runs as somebody else. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined
}

export function startPinned(cores: Cores, program: string, args: readonly string[], options: StartOptions = {}): Started {
  // Without `setsid` or a shell between: the pid is the program's own.
  const child = spawn(TASKSET, ['-c', String(cores), program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', ...(options.channel ? ['ipc' as const] : [])],
    cwd: ROOT,
    env: { ...process.env, ...options.env },
    ...options.user,
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-8192)
    })
  }
  return {
    pid: child.pid as number,
    process: child,
    output: () => text,
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.kill(signal)
      await ended
    },
  }
}

function ownCpuTicks(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The second field is the program's name in parentheses and may hold anything. Of these four, the last two are of children that have ended.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0)
}

function children(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

/** For all that a process started; one that has ended since it was listed does not count. */
function eachChild(pid: number, visit: (child: number) => number): number {
  return children(pid).reduce((sum, child) => {
    try {
      return sum + visit(child)
    } catch (error) {
      if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return sum
      throw error
    }
  }, 0)
}

/** A signal for a process and for all that it started, children last. Says how many got it. */
export function signalTree(pid: number, signal: NodeJS.Signals): number {
  process.kill(pid, signal)
  return 1 + eachChild(pid, (child) => signalTree(child, signal))
}

/** User and system time of a process, all its threads, and the processes it started. */
export function cpuMicros(pid: number): number {
  const own = (ownCpuTicks(pid) * 1e6) / TICKS_PER_SECOND
  return own + eachChild(pid, cpuMicros)
}

export function rssBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return children(pid).reduce((sum, child) => sum + rssBytes(child), Number(kib) * 1024)
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** Polls until it is true; whoever died meanwhile says why. */
export async function untilReady(what: string, started: Started, isReady: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    if (started.process.exitCode !== null || started.process.signalCode !== null)
      throw new Error(`exited with ${started.process.exitCode}: ${started.output()}`)
    if (await isReady()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`${what} did not come: ${started.output()}`)
}

export async function untilListening(port: number, started: Started): Promise<void> {
  await untilReady(`a listener on port ${port}`, started, async () => {
    const socket = connect(port, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return true
    } catch {
      return false
    } finally {
      socket.destroy()
    }
  })
}

/** Polls until the URL answers with the status. */
export async function untilAnswers(url: string, status: number, started: Started): Promise<void> {
  await untilReady(`${url} with ${status}`, started, async () => {
    const answer = await fetch(url).catch(() => undefined)
    await answer?.arrayBuffer()
    return answer?.status === status
  })
}

/** A folder on the disk of the repository (a temporary one may be in memory, where a sync costs nothing). */
export function workFolder(): { path: string; remove: () => void } {
  const parent = path.join(ROOT, '.tmp')
  mkdirSync(parent, { recursive: true })
  const folder = mkdtempSync(path.join(parent, 'bench-'))
  return { path: folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

function version(name: string, args: readonly string[], pattern: RegExp): string | undefined {
  const program = findProgram(name)
  if (program === undefined) return undefined
  // wrk exits with 1 after telling its version.
  const found = pattern.exec(execFileSync('/bin/sh', ['-c', '"$0" "$@" 2>&1 || true', program, ...args], { encoding: 'utf8' }))
  return found?.[1]
}

const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x01021994: 'tmpfs',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x794c7630: 'overlay',
}

export interface MachineFacts {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly fileSystem: string
  readonly node: string
  readonly nginx: string | undefined
  readonly haproxy: string | undefined
  readonly wrk: string | undefined
  readonly commit: string
}

export function machineFacts(): MachineFacts {
  const git = (args: readonly string[]): string => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim()
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release().split('-')[0] as string,
    fileSystem: FILE_SYSTEMS[statfsSync(ROOT).type] ?? 'other',
    node: process.versions.node,
    nginx: version('nginx', ['-v'], /nginx\/(\S+)/),
    haproxy: version('haproxy', ['-v'], /version ([\d.]+)/),
    wrk: version('wrk', ['-v'], /wrk \S*?(\d[\d.]*)/),
    commit: git(['rev-parse', '--short', 'HEAD']) + (git(['status', '--porcelain', '--', 'src']) === '' ? '' : '+'),
  }
}
