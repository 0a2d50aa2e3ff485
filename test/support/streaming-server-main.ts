/**
 * The process behind `startStreamingServer`: answers `/stream?bytes=…` with bytes that are known by their place. `piece`: so many at a time;
 * `everyMs`: so long between two pieces; `length=1`: it says how many they will be; `stop=…`: after so many it sends nothing more.
 */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { bytesAt } from './streamed-bytes.ts'

async function stream(response: ServerResponse, query: URLSearchParams): Promise<void> {
  const number = (name: string, otherwise: number): number => Number(query.get(name) ?? otherwise)
  const bytes = number('bytes', 0)
  const stop = number('stop', bytes)
  const everyMs = number('everyMs', 0)
  response.setHeader('Content-Type', 'application/octet-stream')
  if (query.has('length')) response.setHeader('Content-Length', bytes)
  for (let at = 0; at < stop && !response.destroyed; ) {
    const piece = bytesAt(at, Math.min(number('piece', 65_536), stop - at))
    at += piece.length
    if (!response.write(piece)) await Promise.race([once(response, 'drain'), once(response, 'close')])
    if (everyMs > 0) await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
  if (stop === bytes) response.end()
}

const server = createServer((request, response) => {
  request.resume()
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://server')
  if (pathname === '/healthz') response.end()
  else request.on('end', () => void stream(response, searchParams))
})
server.listen(Number(process.argv[2]), '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
