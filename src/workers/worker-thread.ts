/** The entry of a worker's thread. What cannot be had (an address, a certificate) is told to the chief, who knows what to do about it. */
import { parentPort, workerData } from 'node:worker_threads'
import type { ToChief, WorkerData } from './messages.ts'
import { RunningWorker } from './worker.ts'

const port = parentPort
if (port === null) throw new Error('this module is the entry of a worker thread')

try {
  await new RunningWorker(workerData as WorkerData, port).start()
} catch (error) {
  const { message, code } = error as NodeJS.ErrnoException
  port.postMessage({ kind: 'failed', message, code } satisfies ToChief)
}
