/**
 * A server that closes idle connections at random moments (usage: <port> <longest idle, ms> <seed>), in each of the ways in which servers
 * do: an orderly end, a close, a reset; and that is busy with something else now and then, so that what has arrived lies unread when it
 * closes. It counts what it executes by `X-Id`; `GET /_report` tells.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { SeededRandom } from './seeded-random.ts'

/** Of requests to be executed, one in so many holds up everything else for a while. */
const BUSY_EVERY = 40
const BUSY_MS = 3

const [port = 0, idleMaxMs = 50, seed = 1] = process.argv.slice(2).map(Number)
const random = new SeededRandom(seed)
const executed = new Map<string, number>()
let closedIdle = 0

const server = createServer({ noDelay: true }, (socket) => {
  let input = ''
  let idle: NodeJS.Timeout | undefined
  socket.on('error', () => undefined)
  socket.on('close', () => clearTimeout(idle))
  socket.on('data', (chunk) => {
    clearTimeout(idle)
    input += chunk.toString('latin1')
    for (let taken = takeRequest(input); taken !== undefined; taken = takeRequest(input)) {
      input = taken.rest
      answer(socket, taken.head)
    }
    if (input === '') idle = setTimeout(() => closeIdle(socket), random.unit() * idleMaxMs)
  })
})
server.listen(port, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))

function takeRequest(input: string): { head: string; rest: string } | undefined {
  const end = input.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const head = input.slice(0, end)
  const bodyEnd = end + 4 + Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
  return input.length < bodyEnd ? undefined : { head, rest: input.slice(bodyEnd) }
}

function answer(socket: Socket, head: string): void {
  if (head.startsWith('GET /_report ')) return report(socket)
  const id = /^x-id: (\S+)/im.exec(head)?.[1]
  if (id !== undefined) executed.set(id, (executed.get(id) ?? 0) + 1)
  if (random.chance(1 / BUSY_EVERY)) for (const until = performance.now() + BUSY_MS; performance.now() < until; );
  socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
}

function report(socket: Socket): void {
  const text = JSON.stringify({ executed: [...executed], closedIdle })
  socket.end(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${text.length}\r\n\r\n${text}`)
}

function closeIdle(socket: Socket): void {
  closedIdle++
  const way = random.unit()
  if (way < 0.4) socket.end()
  else if (way < 0.8) socket.destroy()
  else socket.resetAndDestroy()
}
