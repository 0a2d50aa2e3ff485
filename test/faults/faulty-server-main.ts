/**
 * A server that fails as it is told: `POST /_do/<conduct>`. It prints its port, then the `X-Id` of each request that it has read as a whole:
 * from that moment on a request counts as executed, whatever becomes of its answer and of this process.
 */
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { Conduct } from './cases.ts'

const WORK_MS = 3
const SLOW_MS = 200

interface Request {
  readonly id: string
  readonly target: string
}

let conduct: Conduct = 'well'

const server = createServer({ noDelay: true }, (socket) => {
  let input = ''
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => {
    input += chunk.toString('latin1')
    const end = input.indexOf('\r\n\r\n')
    if (end < 0) return
    const head = input.slice(0, end)
    if (input.length < end + 4 + Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)) return
    input = ''
    const target = head.split(' ')[1] ?? ''
    if (target.startsWith('/_do/')) {
      conduct = target.slice('/_do/'.length) as Conduct
      return void socket.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n')
    }
    const id = /^x-id: (\S+)/im.exec(head)?.[1] ?? ''
    process.stdout.write(`${id}\n`)
    setTimeout(() => answer(socket, { id, target }), conduct === 'slow' ? SLOW_MS : WORK_MS)
  })
})
server.listen(Number(process.argv[2]), '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`))

function answer(socket: Socket, { id, target }: Request): void {
  if (conduct === 'hangs') return
  if (conduct === 'resets') return void socket.resetAndDestroy()
  if (conduct === 'closes') return void socket.end()
  if (conduct === 'garbage') return void socket.write('SSH-2.0-what\r\n\r\n')
  const body = `done ${id} `.repeat(8)
  const isChunked = target === '/parts'
  const first = isChunked ? chunk(body.slice(0, 20)) : body.slice(0, 20)
  const rest = isChunked ? `${chunk(body.slice(20))}0\r\n\r\n` : body.slice(20)
  const head = `HTTP/1.1 200 OK\r\n${isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`}\r\n\r\n`
  if (!isChunked && conduct !== 'cuts') return void socket.write(head + first + rest)
  socket.write(head + first)
  setTimeout(() => (conduct === 'cuts' ? cut(socket, id) : socket.write(rest)), WORK_MS)
}

function cut(socket: Socket, id: string): void {
  if (Number(id) % 2 === 0) socket.end()
  else socket.resetAndDestroy()
}

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`
}
