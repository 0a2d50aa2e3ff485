/** A server as a process of its own, so that a test can kill it as a machine would. */
import { join } from 'node:path'
import { startListening } from './children.ts'

const MAIN = join(import.meta.dirname, 'server-process-main.ts')

export interface ServerProcess {
  readonly port: number
  readonly pid: number
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>
}

/** `port` 0: any free one. Resolves when it listens. */
export async function startServerProcess(port = 0): Promise<ServerProcess> {
  const started = await startListening([process.execPath, MAIN, String(port)])
  return { port: started.port, pid: started.child.pid, kill: () => started.child.kill() }
}
