/** Processes of a test: started with this Node, found out what they print, killed by their own pid at the latest when the test's process ends. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { until } from './until.ts'

const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface Child {
  readonly pid: number
  readonly exited: Promise<Exit>
  /** As soon as it has ended itself: who was given its output may still write there. */
  readonly gone: Promise<Exit>
  /** All that it wrote, to standard output and to standard error. */
  readonly output: string
  /** What it wrote to standard error. */
  readonly errors: string
  signal(signal: NodeJS.Signals): void
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
}

/** `command`: the program and its arguments; lines of its standard output go to `onLine`. */
export function startChild(command: readonly string[], onLine: (line: string) => void): Child {
  const [program = '', ...args] = command
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_OPTIONS: '' } })
  alive.add(child)
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    errors += chunk.toString()
  })
  createInterface({ input: child.stdout }).on('line', onLine)
  const exited = once(child, 'close').then(([code, signal]) => {
    alive.delete(child)
    return { code: code as number | null, signal: signal as NodeJS.Signals | null }
  })
  const gone = once(child, 'exit').then(([code, signal]) => ({ code: code as number | null, signal: signal as NodeJS.Signals | null }))
  return {
    pid: child.pid ?? 0,
    exited,
    gone,
    get output() {
      return output
    },
    get errors() {
      return errors
    },
    signal: (signal) => void child.kill(signal),
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** A program whose first line is the port where it listens. */
export async function startListening(command: readonly string[]): Promise<{ readonly child: Child; readonly port: number }> {
  let first: string | undefined
  let ended = false
  const child = startChild(command, (line) => (first ??= line))
  void child.exited.then(() => (ended = true))
  await until('the program listens', () => {
    if (ended) throw new Error(`it ended: ${child.output}`)
    return first !== undefined
  })
  return { child, port: Number(first) }
}

/** Microseconds of the machine's monotonic clock: the same in all processes. */
export function monotonicMicros(): number {
  return Number(process.hrtime.bigint() / 1000n)
}
