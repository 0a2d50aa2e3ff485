/** Commands as users run them, as processes of their own, or in this process: the exit code, and what was written where. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { runCli } from '../../src/cli/main.ts'
import { bareEnvironment } from './child-environment.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

export interface Outcome {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface CommandOptions {
  readonly cwd: string
  /** All that it has of an environment, besides the path. */
  readonly environment?: Readonly<Record<string, string>>
}

/** Any program. Its standard input is empty. */
export function runProgram(program: string, args: readonly string[], { cwd, environment = {} }: CommandOptions): Promise<Outcome> {
  const options = { cwd, env: { ...bareEnvironment(), ...environment }, maxBuffer: OUTPUT_BYTES_MAX }
  return new Promise((resolve) => {
    const child = execFile(program, args, options, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err })
    })
    child.stdin?.end()
  })
}

/** A command of ours. */
export function runCommand(args: readonly string[], options: CommandOptions): Promise<Outcome> {
  return runProgram(process.execPath, [MAIN, ...args], options)
}

export interface InProcessOptions {
  readonly environment?: Readonly<Record<string, string>>
  /** What is typed where something is asked; absent: nobody sits at a terminal. */
  readonly answer?: string
}

/** The same without a process of its own. `asked`: what it wanted to know. */
export async function runInProcess(args: readonly string[], options: InProcessOptions = {}): Promise<Outcome & { readonly asked: string }> {
  const { environment = {}, answer } = options
  let [out, err, asked] = ['', '', '']
  const io = { out: (text: string) => void (out += text), err: (text: string) => void (err += text), environment }
  const typing = answer === undefined ? {} : { ask: (question: string) => ((asked = question), Promise.resolve(answer)) }
  const code = await runCli(args, { ...io, ...typing })
  return { code, out, err, asked }
}
