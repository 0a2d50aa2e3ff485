/** A reverse proxy as its README shows it, with an agent that keeps connections: node bench/node-proxies/http-proxy-3.ts <port> <port of the origin> */
import { Agent, createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import process from 'node:process'
import { importClient } from '../brokers/broker.ts'

const [port, origin] = process.argv.slice(2)

/** What is used of http-proxy-3. */
interface HttpProxy {
  createProxyServer(options: object): {
    web(request: IncomingMessage, response: ServerResponse): void
    on(event: 'error', listener: () => void): void
  }
}

const library = await importClient<HttpProxy>('http-proxy-3')
const agent = new Agent({ keepAlive: true, maxSockets: 256 })
const proxy = library.createProxyServer({ target: `http://127.0.0.1:${origin}`, agent, xfwd: true })
proxy.on('error', () => undefined)
createServer((request, response) => proxy.web(request, response)).listen(Number(port), '127.0.0.1')
