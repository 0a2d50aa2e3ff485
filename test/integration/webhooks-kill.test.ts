/**
 * The gateway is killed again and again while jobs end and webhooks are on their way: each end is told of at least once, under one id, in order per
 * key, and nothing is told of what has not ended. The gateway is a process as users run it, its receiver speaks TLS, and its environment
 * names a proxy that nobody must follow.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Webhook } from 'standardwebhooks'
import type { ConfigFile } from '../../src/config/schema.ts'
import { startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import type { Document } from '../support/queue-api-rig.ts'
import { startTestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'
import { SECRET } from '../support/webhook-rig.ts'

const TLS = join(import.meta.dirname, '..', 'support', 'tls')
const KILLS = 4
const JOBS_PER_LIFE = 12
const KEYS = ['a', 'b', 'c']

interface Told {
  readonly id: string
  readonly webhook: string
  readonly key: string
  readonly status: string
}

test('each end is told of at least once, under one id and in order per key, whenever the gateway is killed', async () => {
  process.env['NODE_EXTRA_CA_CERTS'] = join(TLS, 'localhost.crt')
  process.env['NODE_USE_ENV_PROXY'] = '1'
  process.env['HTTPS_PROXY'] = 'http://127.0.0.1:9'
  const told: Told[] = []
  let requests = 0
  const receiver = createServer(
    { key: readFileSync(join(TLS, 'localhost.key')), cert: readFileSync(join(TLS, 'localhost.crt')) },
    (request, response) => {
      const chunks: Buffer[] = []
      request.on('error', () => undefined)
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]))
        const { id, status, reference } = new Webhook(SECRET).verify(Buffer.concat(chunks), headers) as Document
        // Every fifth one fails, every seventh takes its time.
        requests++
        if (requests % 5 === 0) return void response.writeHead(500).end()
        const take = (): void => {
          if (!request.socket.destroyed) told.push({ id, webhook: headers['webhook-id'] as string, key: reference, status })
          response.end()
        }
        if (requests % 7 === 0) setTimeout(take, 100)
        else take()
      })
    },
  )
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  const server = await startTestServer(({ url }, response) => void response.writeHead(url === '/bad' ? 422 : 200).end('done'))
  const folder = mkdtempSync(join(tmpdir(), 'spillway-webhooks-'))
  const config: ConfigFile = {
    pools: { api: { servers: [`http://127.0.0.1:${server.port}`], health: { path: '/healthz', interval: '100ms', rise: 1 } } },
    queues: { work: { backoff: { base: '10ms', max: '20ms' } } },
    routes: [{ match: '/*', mode: 'queue', queue: 'work', allow: ['key', 'reference', 'delay'] }],
    webhooks: {
      allow: ['127.0.0.1'],
      retries: new Array<string>(100).fill('20ms'),
      endpoints: { main: { url: `https://localhost:${(receiver.address() as AddressInfo).port}/`, secret: SECRET, order: 'key' } },
    },
  }
  const submitted: { readonly id: string; readonly key: string; readonly status: string }[] = []
  const submit = async (url: string, n: number): Promise<void> => {
    const key = KEYS[n % KEYS.length] as string
    const bad = n % 4 === 0
    const headers = { 'spillway-key': key, 'spillway-reference': key, 'content-length': '1' }
    const answer = await ask(`${url}/${bad ? 'bad' : 'work'}`, { method: 'POST', headers, body: 'x' })
    assert.equal(answer.status, 202)
    submitted.push({ id: answer.json()['id'] as string, key, status: bad ? 'failed' : 'succeeded' })
  }
  let gateway = await startGateway(config, { folder })
  try {
    const later = { 'spillway-delay': '1h', 'content-length': '1' }
    const notYet = (await ask(`${gateway.url}/work`, { method: 'POST', headers: later, body: 'x' })).json()['id'] as string
    for (let life = 0; life <= KILLS; life++) {
      for (let n = 0; n < JOBS_PER_LIFE; n++) await submit(gateway.url, n)
      const enough = told.length + 3
      await until('some are told of', () => told.length >= enough)
      if (life === KILLS) break
      await gateway.kill()
      gateway = await startGateway(config, { folder })
    }
    const missing = (): string[] => submitted.filter(({ id }) => !told.some((each) => each.id === id)).map(({ id }) => id)
    await until(
      () => `all ends are told of; missing: ${missing().join(' ')}\n${gateway.output.slice(-2000)}`,
      () => missing().length === 0,
    )
    assert.ok(!told.some(({ id }) => id === notYet))
    for (const { id, status } of submitted) {
      const those = told.filter((each) => each.id === id)
      assert.deepEqual([...new Set(those.map((each) => each.status))], [status])
      assert.equal(new Set(those.map((each) => each.webhook)).size, 1)
    }
    for (const key of KEYS) {
      const firsts = [...new Set(told.filter((each) => each.key === key).map(({ id }) => id))]
      assert.deepEqual(
        firsts,
        submitted.filter((each) => each.key === key).map(({ id }) => id),
      )
    }
    assert.ok(!gateway.output.includes(SECRET.slice('whsec_'.length)))
  } finally {
    await gateway.kill()
    await server.kill()
    receiver.closeAllConnections()
    await new Promise((resolve) => receiver.close(resolve))
    rmSync(folder, { recursive: true })
  }
})
