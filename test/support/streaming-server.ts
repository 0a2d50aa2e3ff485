/** A server that streams, as a process of its own, so that it can be killed in the middle of an answer. */
import { join } from 'node:path'
import { startListening } from './children.ts'
import type { ServerProcess } from './server-process.ts'

const MAIN = join(import.meta.dirname, 'streaming-server-main.ts')

export async function startStreamingServer(port = 0): Promise<ServerProcess> {
  const started = await startListening([process.execPath, MAIN, String(port)])
  return { port: started.port, pid: started.child.pid, kill: () => started.child.kill() }
}
