/** Where webhooks may go: what is checked is the address that is connected to, whatever names say before, after, or besides. */
import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import type { ResolvedAddress, Resolver } from '../../src/ports/network.ts'
import type { Document } from '../support/queue-api-rig.ts'
import { until } from '../support/until.ts'
import { SECRET, startReceiver, startWebhookRig, type WebhookRig } from '../support/webhook-rig.ts'

interface Pair extends AsyncDisposable {
  readonly port: number
  /** The addresses that were connected to. */
  readonly reached: string[]
}

/** A receiver at each of two addresses of this machine, at the same port, that keeps no connection. */
async function startPair(): Promise<Pair> {
  const reached: string[] = []
  const listen = async (host: string, port: number): Promise<Server> => {
    const server = createServer({ keepAlive: false }, (_, response) => void response.setHeader('connection', 'close').end())
    server.on('connection', ({ localAddress }) => void reached.push(localAddress as string))
    await new Promise<void>((resolve) => server.listen(port, host, resolve))
    return server
  }
  const first = await listen('127.0.0.1', 0)
  const { port } = first.address() as AddressInfo
  const second = await listen('127.0.0.2', port)
  return {
    port,
    reached,
    async [Symbol.asyncDispose]() {
      for (const server of [first, second]) await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Answers what it is given, one after the other, and the last one for ever. */
function resolverOf(...answers: readonly (readonly string[])[]): Resolver & { readonly asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    resolve(host) {
      const answer = answers[Math.min(asked.push(host), answers.length) - 1] as readonly string[]
      return Promise.resolve(answer.map((address): ResolvedAddress => ({ address, family: address.includes(':') ? 6 : 4 })))
    },
  }
}

async function firstError(rig: WebhookRig): Promise<Document> {
  let error: Document
  await until('a webhook has failed', async () => {
    error = (await rig.deliveries()).find((job) => job.error !== undefined)?.error
    return error !== undefined
  })
  return error
}

const to = (url: string): Record<string, unknown> => ({ main: { url, secret: SECRET } })

test('a name that resolves to an address that is not allowed is not connected to', async () => {
  await using pair = await startPair()
  const cases: readonly (readonly [readonly string[], readonly string[], RegExp])[] = [
    [['127.0.0.1'], [], /hooks\.example \(127\.0\.0\.1\) is a loopback address/],
    [['::ffff:127.0.0.1'], ['127.0.0.2'], /a loopback address in an IPv6 address/],
    [['10.0.0.7'], ['127.0.0.0/8'], /a private address/],
    [['169.254.169.254'], ['169.254.0.0/16'], /metadata/],
    [['0.0.0.0'], [], /no address of a host/],
  ]
  for (const [addresses, allow, why] of cases) {
    const options = { resolver: resolverOf(addresses) }
    const webhooks = { allow: [...allow], https: 'optional', endpoints: to(`http://hooks.example:${pair.port}/`) }
    await using rig = await startWebhookRig({ main: null, webhooks, options })
    await rig.submit()
    const error = await firstError(rig)
    assert.deepEqual([error.code, why.test(error.detail as string)], ['webhook_refused_address', true], error.detail as string)
  }
  assert.deepEqual(pair.reached, [])
})

test('a name that changes its mind between check and connection gains nothing', async () => {
  await using pair = await startPair()
  const resolver = resolverOf(['127.0.0.2'], ['127.0.0.1'])
  const webhooks = { allow: ['127.0.0.2'], https: 'optional', endpoints: to(`http://rebinding.example:${pair.port}/`), retries: ['1ms'] }
  await using rig = await startWebhookRig({ main: null, webhooks, options: { resolver } })
  await rig.submit()
  await until('the first has arrived', async () => (await rig.deliveries())[0]?.status === 'succeeded')
  // One question: its answer is what is connected to.
  assert.deepEqual([resolver.asked, pair.reached], [['rebinding.example'], ['127.0.0.2']])
  await rig.submit()
  const error = await firstError(rig)
  assert.equal(error.code, 'webhook_refused_address')
  assert.deepEqual(pair.reached, ['127.0.0.2'])
})

test('of several addresses only those that are allowed are tried', async () => {
  await using pair = await startPair()
  const webhooks = { allow: ['127.0.0.2'], https: 'optional', endpoints: to(`http://several.example:${pair.port}/`) }
  const options = { resolver: resolverOf(['127.0.0.1', '10.0.0.1', '127.0.0.2', '::1']) }
  await using rig = await startWebhookRig({ main: null, webhooks, options })
  await rig.submit()
  await until('it has arrived', async () => (await rig.deliveries())[0]?.status === 'succeeded')
  assert.deepEqual(pair.reached, ['127.0.0.2'])
})

test('a name may be allowed by itself, wherever it leads', async () => {
  await using pair = await startPair()
  const webhooks = { allow: ['hooks.internal'], https: 'optional', endpoints: to(`http://hooks.internal:${pair.port}/`) }
  await using rig = await startWebhookRig({ main: null, webhooks, options: { resolver: resolverOf(['127.0.0.1']) } })
  await rig.submit()
  await until('it has arrived', async () => (await rig.deliveries())[0]?.status === 'succeeded')
})

test('http goes to loopback only where https is required, whatever else is allowed', async () => {
  const resolver = resolverOf(['10.9.9.9'])
  const endpoints = to('http://localhost:9/')
  await using rig = await startWebhookRig({ main: null, webhooks: { allow: ['10.0.0.0/8'], endpoints }, options: { resolver } })
  await rig.submit()
  assert.match((await firstError(rig)).detail as string, /without TLS/)
  const elsewhere = { main: null, webhooks: { endpoints: to('http://hooks.example/') } }
  await assert.rejects(startWebhookRig(elsewhere), /webhooks\.endpoints\.main\.url {2}must begin with https/)
})

test('an address in a URL is checked as one that a name has, when it is written down and when it is sent to', async () => {
  for (const url of ['https://10.0.0.1/', 'https://[::1]/', 'https://[::ffff:10.0.0.1]/', 'https://0x7f.1/', 'http://127.0.0.1/'])
    await assert.rejects(startWebhookRig({ main: null, webhooks: { allow: [], endpoints: to(url) } }), /name it in webhooks\.allow/, url)
  await using receiver = await startReceiver()
  const webhooks = {
    allow: ['127.0.0.2'],
    https: 'optional',
    callbacks: { urls: ['http://127.0.0.1:*/'.replace(':*', `:${receiver.port}`)], secret: SECRET },
  }
  const routes = [{ match: '/*', mode: 'queue' as const, queue: 'work', allow: ['callback' as const] }]
  await using rig = await startWebhookRig({ main: null, webhooks, config: { routes } })
  await rig.submit('/work', { 'spillway-callback': `${receiver.url}/` })
  assert.equal((await firstError(rig)).code, 'webhook_refused_address')
  assert.equal(receiver.received.length, 0)
})

test('a certificate that nobody vouches for is refused', async () => {
  const folder = join(import.meta.dirname, '..', 'support', 'tls')
  const [key, cert] = ['localhost.key', 'localhost.crt'].map((name) => readFileSync(join(folder, name)))
  let calls = 0
  const server = createTlsServer({ key, cert } as object, (_, response) => {
    calls++
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const url = `https://localhost:${(server.address() as AddressInfo).port}/`
    await using rig = await startWebhookRig({
      main: null,
      webhooks: { endpoints: to(url) },
      options: { resolver: resolverOf(['127.0.0.1']) },
    })
    await rig.submit()
    const error = await firstError(rig)
    assert.deepEqual([error.code, calls], ['connect_failed', 0])
    assert.match(error.detail as string, /SELF_SIGNED/)
  } finally {
    await new Promise((resolve) => server.close(resolve))
  }
})

test('a name without addresses is a failure, as one that cannot be resolved', async () => {
  for (const resolver of [resolverOf([]), { resolve: () => Promise.reject(Object.assign(new Error('no'), { code: 'ENOTFOUND' })) }]) {
    await using rig = await startWebhookRig({ main: null, webhooks: { endpoints: to('https://nowhere.example/') }, options: { resolver } })
    await rig.submit()
    const error = await firstError(rig)
    assert.ok(['webhook_refused_address', 'connect_failed'].includes(error.code as string))
    assert.match(error.detail as string, /nowhere\.example has no address|ENOTFOUND/)
  }
})
