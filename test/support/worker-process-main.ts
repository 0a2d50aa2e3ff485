/** A worker as a process of its own, that blocks its event loop for as long as each job says, and tells what happens in lines of JSON. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createWorker, type Duration, WorkerError } from '../../src/client/worker/worker.ts'

const [url = '', token = '', lease = '1s', stuckAfter = '60s'] = process.argv.slice(2)

function tell(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const worker = createWorker<{ blockMs: number; afterMs?: number }, string>({
  url,
  token,
  queue: 'mail',
  concurrency: 4,
  lease: lease as Duration,
  stuckAfter: stuckAfter as Duration,
  wait: '1s',
  handler: async ({ id, payload, attempt }, { signal }) => {
    await sleep(payload.afterMs ?? 0)
    // Written before the loop is blocked: standard output is a pipe.
    tell({ type: 'begun', id, attempt })
    const endsAt = performance.now() + payload.blockMs
    while (performance.now() < endsAt);
    tell({ type: 'ended', id, aborted: signal.aborted })
    return 'done'
  },
  onError: (error, { job }) => tell({ type: 'error', id: job?.id, code: error instanceof WorkerError ? error.code : String(error) }),
})
process.on('SIGTERM', () => {
  void worker.stop().then((stopped) => tell({ type: 'stopped', ...stopped }))
})
tell({ type: 'ready' })
