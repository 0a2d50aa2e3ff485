/**
 * A server whose capacity is set by timers, not by the machine: it works on so many requests at a time, the others wait in its own line, and
 * whoever hangs up is worked on no more.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Millis } from '../../src/lib/units.ts'

export interface TimedServer {
  readonly url: string
  /** Ids of the jobs that it has done. */
  readonly jobs: ReadonlySet<string>
  close(): void
}

export async function startTimedServer(slots: number, workMs: (path: string) => Millis): Promise<TimedServer> {
  const jobs = new Set<string>()
  const line: (() => void)[] = []
  let busy = 0
  const next = (): void => {
    while (busy < slots && line.length > 0) line.shift()?.()
  }
  const work = (request: IncomingMessage, response: ServerResponse): void => {
    if (response.destroyed) return
    busy++
    const timer = setTimeout(
      () => {
        const job = request.headers['spillway-job']
        if (typeof job === 'string') jobs.add(job)
        response.end('done')
      },
      workMs(request.url ?? ''),
    )
    response.on('close', () => {
      clearTimeout(timer)
      busy--
      next()
    })
  }
  const server = createServer((request, response) => {
    request.resume()
    request.on('error', () => undefined)
    line.push(() => work(request, response))
    next()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    jobs,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
