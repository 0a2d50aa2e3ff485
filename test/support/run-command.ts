/** A command of ours as a process of its own: its exit code, and what it wrote where. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')

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

export function runCommand(args: readonly string[], { cwd, environment = {} }: CommandOptions): Promise<Outcome> {
  const options = { cwd, env: { PATH: process.env['PATH'] ?? '', ...environment } }
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...args], options, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err })
    })
  })
}
