/** A server as a process of its own that closes idle connections at random moments; see `closing-server-main.ts`. */
import { join } from 'node:path'
import { startListening } from './children.ts'
import { ask } from './http-client.ts'

const MAIN = join(import.meta.dirname, 'closing-server-main.ts')

interface ClosingReport {
  /** How often each request was executed, by its `X-Id`. */
  readonly executed: ReadonlyMap<string, number>
  readonly closedIdle: number
}

export interface ClosingServer extends AsyncDisposable {
  readonly port: number
  report(): Promise<ClosingReport>
}

export async function startClosingServer(idleMaxMs: number, seed: number): Promise<ClosingServer> {
  const { child, port } = await startListening([process.execPath, MAIN, '0', String(idleMaxMs), String(seed)])
  return {
    port,
    async report() {
      const { text } = await ask(`http://127.0.0.1:${port}/_report`)
      const { executed, closedIdle } = JSON.parse(text) as { executed: [string, number][]; closedIdle: number }
      return { executed: new Map(executed), closedIdle }
    },
    [Symbol.asyncDispose]: () => child.kill(),
  }
}
