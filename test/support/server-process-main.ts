/**
 * The process behind `startServerProcess`: answers every request with its own pid and says where it listens. Answers take some
 * milliseconds, at /slowly between their head and their body, so that some are always under way when the process is killed.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const WORK_MS = 5

const server = createServer((request, response) => {
  request.resume()
  if (request.url === '/slowly') response.flushHeaders()
  setTimeout(() => response.end(String(process.pid)), WORK_MS)
})
server.listen(Number(process.argv[2]), '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))
