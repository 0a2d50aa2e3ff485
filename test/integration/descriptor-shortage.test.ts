/**
 * The gateway has no descriptor left for a connection to a server: the calls that need one fail, and nobody takes the servers for down.
 * A real limit of a real process; clients come until it is reached.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { RawClient } from '../support/raw-client.ts'
import { OK, type RawServer, startRawServer } from '../support/raw-server.ts'
import { until } from '../support/until.ts'

const DESCRIPTORS = 96
const LIMITED = ['sh', '-c', `ulimit -n ${DESCRIPTORS} && exec "$0" "$@"`]
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

interface Rig {
  readonly server: RawServer
  readonly gateway: ChildGateway
  readonly clients: RawClient[]
  /** One client more; closed at once when there is no descriptor for it. */
  come(text: string): Promise<void>
  untilServed(): Promise<void>
}

/** One failed check would be enough to take the server for down. */
async function startRig(t: TestContext, interval: string): Promise<Rig> {
  const server = await startRawServer(() => undefined)
  const folder = mkdtempSync(join(tmpdir(), 'spillway-descriptors-'))
  const pools = { api: { servers: [`http://127.0.0.1:${server.port}`], maxInFlight: 1000, health: { interval, fall: 1 } } }
  const routes = [{ match: '/*' }]
  // It would refuse the calls before they find that there is none left.
  const guard = { sockets: 'off' } as const
  const gateway = await startGateway({ pools, routes, guard, store: { engine: 'memory' } }, { folder, wrap: LIMITED })
  const clients: RawClient[] = []
  t.after(async () => {
    for (const client of clients) client.destroy()
    await gateway.kill()
    await server[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  })
  await until('the server is up', () => gateway.of('server-up').length > 0)
  return {
    server,
    gateway,
    clients,
    async come(text) {
      const client = await RawClient.connect(Number(new URL(gateway.url).port))
      clients.push(client)
      client.write(text)
    },
    async untilServed() {
      for (const client of clients) client.destroy()
      server.handle = (connection) => void connection.write(OK)
      await until('a client is served', async () => (await ask(gateway.url).catch(() => undefined))?.status === 200)
    },
  }
}

test('a check that cannot be made says nothing about the server: it stays up, and a warning says what is short', async (t) => {
  const rig = await startRig(t, '20ms')
  await until('a check has failed', async () => {
    await rig.come('')
    return rig.gateway.of('warning').length > 0
  })
  const message = /^no connection to pool api can be opened \(EMFILE\): .*\(ulimit -n\)$/
  assert.match(String(rig.gateway.of('warning')[0]?.['message']), message)
  await rig.untilServed()
  assert.deepEqual(rig.gateway.of('server-down'), [])
})

test('a call that finds no descriptor fails alone: its server stays up', async (t) => {
  const rig = await startRig(t, '1h')
  const refused = (): RawClient | undefined => rig.clients.find((client) => client.text.includes('EMFILE'))
  await until('a call has failed', async () => {
    await rig.come(GET)
    return refused() !== undefined
  })
  assert.match(refused()?.text ?? '', /^HTTP\/1\.1 50\d /)
  await rig.untilServed()
  assert.deepEqual(rig.gateway.of('server-down'), [])
})

test('what watches over memory goes on without a descriptor to read it by', () => {
  const source = join(import.meta.dirname, '..', '..', 'src')
  const program = `
    import { openSync } from 'node:fs'
    import { memoryShare } from '${join(source, 'gateway', 'guard-signals.ts')}'
    import { createMetrics } from '${join(source, 'telemetry', 'metrics.ts')}'
    import { registerProcessMetrics } from '${join(source, 'telemetry', 'process-metrics.ts')}'
    const metrics = createMetrics()
    const stop = registerProcessMetrics(metrics, '0')
    const before = memoryShare()
    let short
    while (short === undefined) try { openSync('/dev/null') } catch (error) { short = error.code }
    const after = memoryShare()
    const read = metrics.render().includes('nodejs_heap_size_used_bytes ')
    stop()
    console.log(JSON.stringify([short, before > 0 && before < 1, after > 0 && after < 1, read]))`
  const [shell = '', ...args] = LIMITED
  const { stdout, stderr } = spawnSync(shell, [...args, process.execPath, '--input-type=module', '-e', program], { encoding: 'utf8' })
  assert.equal(stdout, '["EMFILE",true,true,true]\n', stderr)
})
