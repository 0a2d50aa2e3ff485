/** A reverse proxy as its README shows it: node bench/node-proxies/fastify.ts <port> <port of the origin> */
import process from 'node:process'
import { importClient } from '../brokers/broker.ts'

const [port, origin] = process.argv.slice(2)

/** What is used of fastify. */
interface Fastify {
  default(options: object): {
    register(plugin: unknown, options: object): void
    listen(where: { readonly port: number; readonly host: string }): Promise<string>
  }
}

const fastify = await importClient<Fastify>('fastify')
const { default: proxy } = await importClient<{ default: unknown }>('@fastify/http-proxy')
const app = fastify.default({ logger: false })
app.register(proxy, { upstream: `http://127.0.0.1:${origin}`, undici: { connections: 256, pipelining: 1, keepAliveTimeout: 60_000 } })
await app.listen({ port: Number(port), host: '127.0.0.1' })
