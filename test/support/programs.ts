/** Programs that a test needs and a machine may not have. */
import { spawn, spawnSync } from 'node:child_process'
import { createServer, type AddressInfo } from 'node:net'

/** For `test(name, { skip }, …)`: a reason, where it is not there. */
export function missing(program: string, versionArgument = '--version'): string | false {
  const path = `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin`
  const found = spawnSync(program, [versionArgument], { env: { ...process.env, PATH: path }, stdio: 'ignore' }).error === undefined
  return found ? false : `there is no ${program} here: apt-get install ${program}`
}

export interface Ended {
  readonly code: number | null
  readonly output: string
}

/** Runs it to its end; `input` is all that it gets. */
export function runProgram(program: string, args: readonly string[], input = ''): Promise<Ended> {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')))
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, output }))
  })
}

/** One that nobody listens at now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
