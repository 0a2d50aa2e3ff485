/**
 * Processes, cores and what they cost. Everything that is measured runs as a process of its own, pinned to a core,
 * and its CPU time is read from /proc: on few cores, requests per second mostly measure the client, CPU per request does not.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { createServer, type AddressInfo } from 'node:net'
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

export function startPinned(core: number, program: string, args: readonly string[]): Started {
  // Without `setsid` or a shell between: the pid is the program's own.
  const child = spawn(TASKSET, ['-c', String(core), program, ...args], { stdio: ['ignore', 'pipe', 'pipe'], cwd: ROOT })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
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
  // The second field is the program's name in parentheses and may hold anything.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

function children(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

/** User and system time of a process, all its threads, and the processes it started. */
export function cpuMicros(pid: number): number {
  const own = (ownCpuTicks(pid) * 1e6) / TICKS_PER_SECOND
  return children(pid).reduce((sum, child) => sum + cpuMicros(child), own)
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

/** Polls until the URL answers with the status; whoever died meanwhile says why. */
export async function untilAnswers(url: string, status: number, started: Started): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (started.process.exitCode !== null) throw new Error(`exited with ${started.process.exitCode}: ${started.output()}`)
    const answer = await fetch(url).catch(() => undefined)
    await answer?.arrayBuffer()
    if (answer?.status === status) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`${url} did not answer ${status}: ${started.output()}`)
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
