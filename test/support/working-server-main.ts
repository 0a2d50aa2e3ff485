/**
 * The program behind `working-server.ts`: an HTTP server that takes its time over every request and writes down, before it works and before it
 * answers, what it was sent. `/healthz` is its health check.
 */
import { openSync, writeSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { monotonicMicros } from './children.ts'
import { inShort, type WorkLine } from './work-log.ts'
import type { WorkingServerOptions } from './working-server.ts'

const { port, log, workMs, flapMs } = JSON.parse(process.argv[2] ?? '{}') as WorkingServerOptions & { readonly port: number }
const file = openSync(log, 'a')
let count = 0

function write(line: WorkLine): void {
  writeSync(file, `${JSON.stringify(line)}\n`)
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name]
  return Array.isArray(value) ? value.join(', ') : value
}

/** All servers with the same `flapMs` are well and ill at the same times, unless their ports differ by an odd number. */
function well(): boolean {
  return flapMs === undefined || (Math.floor(Date.now() / flapMs) + server.port) % 2 === 0
}

function work(request: IncomingMessage, response: ServerResponse, body: string): void {
  const n = count++
  const about = {
    server: server.name,
    pid: process.pid,
    job: header(request, 'spillway-job') ?? '',
    attempt: Number(header(request, 'spillway-attempt')),
    fence: Number(header(request, 'spillway-fence')),
    life: new URL(header(request, 'spillway-report') ?? 'http://direct').hostname,
    key: header(request, 'x-key'),
    body,
  }
  write({ kind: 'start', n, ...about, startAt: monotonicMicros() })
  const [least, most] = workMs
  setTimeout(
    () => {
      write({ kind: 'end', pid: process.pid, n, at: monotonicMicros() })
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ server: server.name, job: about.job, body }))
    },
    least + ((n * 7919) % (most - least + 1)),
  )
}

const server = { name: '', port: 0 }
const http = createServer((request, response) => {
  if (request.url === '/healthz') {
    response.statusCode = well() ? 200 : 500
    return void response.end()
  }
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('error', () => undefined)
  request.on('end', () => work(request, response, inShort(Buffer.concat(chunks).toString())))
})
http.listen(port, '127.0.0.1', () => {
  server.port = (http.address() as AddressInfo).port
  server.name = `127.0.0.1:${server.port}`
  process.stdout.write(`${server.port}\n`)
})
