/** A server that is a process of its own: it can be killed, frozen and thawed, and comes back at the same port. */
import { join } from 'node:path'
import { type Child, startListening } from './children.ts'

const PROGRAM = join(import.meta.dirname, 'working-server-main.ts')

export interface WorkingServerOptions {
  /** File in which all servers of a test write down what they do. */
  readonly log: string
  /** How long a request takes: from, to. */
  readonly workMs: readonly [number, number]
  /** Its health check passes and fails in turn, each for so long. */
  readonly flapMs?: number
}

export interface WorkingServer {
  /** As the gateway calls it. */
  readonly name: string
  readonly port: number
  readonly url: string
  readonly pid: number
  signal(signal: NodeJS.Signals): void
  kill(): Promise<void>
  /** Comes back at the same port. */
  restart(): Promise<void>
}

export async function startWorkingServer(options: WorkingServerOptions): Promise<WorkingServer> {
  let child: Child | undefined
  let port = 0
  async function start(): Promise<void> {
    const started = await startListening([process.execPath, PROGRAM, JSON.stringify({ ...options, port })])
    child = started.child
    port = started.port
  }
  await start()
  return {
    name: `127.0.0.1:${port}`,
    port,
    url: `http://127.0.0.1:${port}`,
    get pid() {
      return child?.pid ?? 0
    },
    signal: (signal) => child?.signal(signal),
    kill: async () => {
      await child?.kill()
    },
    restart: start,
  }
}
