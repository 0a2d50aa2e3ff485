/**
 * The way out: a gateway with a backlog is stopped or killed, its jobs are exported, and what the script sends arrives at a real server byte
 * for byte as the gateway would have sent it. The folder is as it was afterwards.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test, type TestContext } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { type Outcome, runCommand, runProgram } from '../support/run-command.ts'
import { type Received, startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

const spillway = (folder: string, ...args: readonly string[]): Promise<Outcome> => runCommand(args, { cwd: folder })

/** Every byte there is, and long enough to be a file beside the database. */
const LARGE = Buffer.alloc(300_000, Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)))
const ODD_TEXT = `quotes ' " \` $(touch hacked) \\ %s \\n !! é ✓ @file\nEND\n`

interface Sent {
  readonly method: string
  readonly target: string
  readonly headers: readonly string[]
  readonly body?: string | Uint8Array
}

const REQUESTS: readonly Sent[] = [
  { method: 'POST', target: '/orders?a=1&b=%2F[x]{y}', headers: ['Content-Type', 'text/plain', 'X-Key', 'a'], body: ODD_TEXT },
  {
    method: 'POST',
    target: '/orders',
    headers: ['X-Key', 'a', 'X-Odd', 'it\'s "odd"; $HOME `id` \\ %b', 'X-Empty', '', '-Dash', '@x'],
    body: LARGE,
  },
  {
    method: 'PUT',
    target: '/orders',
    headers: ['X-Latin', 'caf\u00e9 \u00ff\\0351', 'X-Two', '1', 'X-Two', '2', 'Cookie', 'a=b; c=d'],
    body: Buffer.from([0, 13, 10, 0]),
  },
  { method: 'DELETE', target: "/orders/it's?x=%20", headers: ['Authorization', 'Bearer of-the-client', 'Idempotency-Key', 'mine'] },
  { method: 'POST', target: '/orders', headers: ['User-Agent', 'odd/1', 'Accept', 'x/y'] },
  { method: 'PATCH', target: '/orders', headers: ['X-Key', 'b'], body: '@/etc/passwd' },
  { method: 'POST', target: '/orders', headers: ['Spillway-Delay', '1h', 'X-Late', 'yes'], body: 'later' },
]

/** What must be alike: everything but what tells of the attempt and of the connection. */
function essence({ method, url, rawHeaders, body }: Received): unknown {
  const fields: [string, string][] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2)
    if (!/^(spillway-|connection$|content-length$)/i.test(name)) fields.push([name, value])
  }
  // Servers see the order of fields of one name only.
  fields.sort(([a], [b]) => (a.toLowerCase() < b.toLowerCase() ? -1 : a.toLowerCase() > b.toLowerCase() ? 1 : 0))
  const length = rawHeaders.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'content-length')
  return { method, url, fields, length: length < 0 ? undefined : rawHeaders[length + 1], body: body.toString('base64') }
}

/** Of every file's content; names, sizes and times too. */
function fingerprint(folder: string): string {
  const hash = createHash('sha256')
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    const path = join(folder, name)
    const { size, mtimeMs } = statSync(path)
    hash.update(`${name} ${size} ${mtimeMs}\n`)
    if (statSync(path).isFile()) hash.update(readFileSync(path))
  }
  return hash.digest('hex')
}

function configOf(port: number): ConfigFile {
  return {
    pools: { app: { servers: [`http://127.0.0.1:${port}`], health: { interval: '100ms', path: '/healthz' } } },
    queues: { orders: {} },
    routes: [
      { match: 'DELETE /orders/*', mode: 'queue', queue: 'orders', allow: ['idempotency-key'] },
      { match: '/orders', mode: 'queue', queue: 'orders', key: 'header:X-Key', allow: ['idempotency-key', 'delay'] },
    ],
  }
}

describe('a backlog of a gateway that is gone', () => {
  let folder = ''
  let server: TestServer
  let gateway: ChildGateway
  let ids: readonly string[] = []

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'spillway-export-'))
    server = await startTestServer()
    await server.kill()
    gateway = await startGateway(configOf(server.port), { folder })
    for (const { method, target, headers, body } of REQUESTS) {
      const asked = { method, headers: ['Host', 'app.example', ...headers], ...(body !== undefined && { body }) }
      const answer = await ask(
        gateway.url + target,
        body === undefined ? asked : { ...asked, headers: [...asked.headers, 'Content-Length', String(Buffer.byteLength(body))] },
      )
      assert.equal(answer.status, 202, answer.text)
      ids = [...ids, String(answer.json()['id'])]
    }
  })
  after(async () => {
    await gateway.kill()
    await server.kill()
    rmSync(folder, { recursive: true })
  })

  test('is not exported while the gateway runs: the answer names its pid', async () => {
    const { code, out, err } = await spillway(folder, 'jobs', 'export', '--offline')
    assert.deepEqual([code, out], [1, ''])
    assert.ok(err.includes(`the gateway with pid ${gateway.pid} works on it; stop it first`), err)
  })

  test('killed: the log that is left is read too, and nothing in the folder changes', async () => {
    await gateway.kill()
    const data = join(folder, 'data')
    assert.ok(statSync(join(data, 'store.db-wal')).size > 0, 'this test wants a log that was not merged')
    const before = fingerprint(data)
    const { code, out, err } = await spillway(folder, 'jobs', 'export', '--offline')
    assert.equal(code, 0, err)
    assert.equal(fingerprint(data), before)
    const lines = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { exported: { id: string }; text?: string; base64?: string; delay?: number })
    assert.deepEqual(
      lines.map(({ exported }) => exported.id),
      ids,
    )
    assert.equal(lines[0]?.text, ODD_TEXT)
    assert.deepEqual(Buffer.from(lines[1]?.base64 ?? '', 'base64'), LARGE)
    assert.ok((lines[6]?.delay ?? 0) > 3_000_000)
  })

  test('stopped: the script sends every job that is due, in order, as the gateway would have, and can go on in the middle', async () => {
    // Only merges the log: nobody is there to take the jobs.
    const again = await startGateway(configOf(server.port), { folder })
    again.signal('SIGTERM')
    assert.equal((await again.exited).code, 0)
    assert.ok(!existsSync(join(folder, 'data', 'store.db-wal')), 'this test wants a log that was merged')
    const script = join(folder, 'backlog.sh')
    const before = fingerprint(join(folder, 'data'))
    const exported = await spillway(folder, 'jobs', 'export', '--offline', '--format', 'curl', '--out', script)
    assert.equal(exported.code, 0, exported.err)
    assert.equal(fingerprint(join(folder, 'data')), before)
    assert.equal(statSync(script).mode & 0o777, 0o600)
    assert.match((await spillway(folder, 'jobs', 'export', '--offline', '--out', script)).err, /is there already; nothing was written/)

    await server.revive()
    let refuses = true
    server.handle = (received, response) => void response.writeHead(received.method === 'PUT' && refuses ? 500 : 204).end()
    const stopped = await runProgram('sh', [script], { cwd: folder })
    assert.equal(stopped.code, 1)
    assert.match(stopped.err, /stopped at job 3\. When it is settled: FROM=3/)
    server.received.pop()
    refuses = false
    const goneOn = await runProgram('sh', [script], { cwd: folder, environment: { FROM: '3' } })
    assert.equal(goneOn.code, 3, goneOn.err)
    assert.match(goneOn.out, /7 left out: it is not due yet\n4 sent\nleft out: 7\n$/)
    assert.ok(!existsSync(join(folder, 'hacked')))
    const later = await runProgram('bash', [script], { cwd: folder, environment: { ONLY: '7', LATER: '1' } })
    assert.equal(later.code, 0, later.err)
    const byScript = server.received.splice(0).map(essence)
    // Canary: one letter of a body that is another one is noticed.
    writeFileSync(script, readFileSync(script, 'utf8').replace('quotes', 'quotas'))
    assert.equal((await runProgram('sh', [script], { cwd: folder, environment: { ONLY: '1' } })).code, 0)
    assert.notDeepEqual(server.received.splice(0).map(essence), byScript.slice(0, 1))

    // The judge is the gateway itself.
    server.handle = (_, response) => void response.end()
    const judge = await startGateway(configOf(server.port), { folder })
    await until('the gateway has sent all that is due', () => server.received.length === 6)
    await judge.kill()
    const byGateway = server.received.splice(0)
    for (const received of byGateway) {
      const i = ids.indexOf(String(received.headers['spillway-job']))
      assert.deepEqual(byScript[i], essence(received), `job ${i + 1}`)
    }
    assert.deepEqual(
      byScript.map((each) => (each as { url: string }).url),
      REQUESTS.map(({ target }) => target),
    )
    await server.kill()
  })
})

describe('what an export says', () => {
  async function stoppedGateway(t: TestContext, config: ConfigFile, fill: (url: string) => Promise<void>): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), 'spillway-export-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const gateway = await startGateway(config, { folder })
    await fill(gateway.url)
    await gateway.kill()
    return folder
  }

  test('jobs that ran only once are left out when they may have run, with a word about it; the others go back to the line', async (t) => {
    const server = await startTestServer(() => undefined)
    t.after(() => server.kill())
    const pools = { app: { servers: [`http://127.0.0.1:${server.port}`], health: { interval: '100ms', path: '/healthz' } } }
    const routes = [
      { match: 'POST /once', mode: 'queue', redeliver: 'safe' },
      { match: 'POST /again', mode: 'queue' },
    ]
    const folder = await stoppedGateway(t, { pools, routes } as ConfigFile, async (url) => {
      for (const path of ['/once', '/again']) assert.equal((await ask(url + path, { method: 'POST', body: path })).status, 202)
      await until('both run', () => server.received.length === 2)
    })
    const { code, out, err } = await spillway(folder, 'jobs', 'export', '--offline')
    assert.equal(code, 0, err)
    const lines = out.trimEnd().split('\n')
    assert.equal(lines.length, 1)
    const line = JSON.parse(lines[0] ?? '') as { exported: Record<string, unknown>; target: string }
    assert.deepEqual([line.target, line.exported['status'], line.exported['handOuts']], ['/again', 'queued', 1])
    assert.match(err, /1 job left out: a server may have done them already/)
    const unknown = await spillway(folder, 'jobs', 'export', '--offline', '--dead', 'outcome_unknown')
    assert.match(unknown.out, /"dead":"outcome_unknown"/)
  })

  test('a damaged request is told and left out, exit code 1', async (t) => {
    const folder = await stoppedGateway(t, configOf(9), async (url) => {
      assert.equal((await ask(`${url}/orders`, { method: 'POST', body: LARGE })).status, 202)
      assert.equal((await ask(`${url}/orders`, { method: 'POST', body: 'fine' })).status, 202)
    })
    const bodies = join(folder, 'data', 'bodies')
    const [name = ''] = readdirSync(bodies)
    writeFileSync(join(bodies, name), 'not what it was')
    const { code, out, err } = await spillway(folder, 'jobs', 'export', '--offline')
    assert.equal(code, 1)
    assert.equal(out.trimEnd().split('\n').length, 1)
    assert.match(err, /its request: it fails its checks/)
  })

  test('what is encrypted is opened with the keys of the configuration, and told where they are missing', async (t) => {
    const config = {
      ...configOf(9),
      store: { path: './data', encryption: { keys: [{ id: 'k1', secret: '11'.repeat(32) }] } },
    } as ConfigFile
    const folder = await stoppedGateway(t, config, async (url) => {
      assert.equal((await ask(`${url}/orders`, { method: 'POST', body: ODD_TEXT })).status, 202)
    })
    const { code, out, err } = await spillway(folder, 'jobs', 'export', '--offline')
    assert.equal(code, 0, err)
    assert.equal((JSON.parse(out) as { text: string }).text, ODD_TEXT)
    const without = await spillway(folder, 'jobs', 'export', '--offline', '--path', 'data', '--to', 'http://a')
    assert.deepEqual([without.code, without.out], [1, ''])
    assert.match(without.err, /its request: it is encrypted with the key k1, which is not configured/)
  })

  test('without a configuration: a folder and a server are enough', async (t) => {
    const folder = await stoppedGateway(t, configOf(9), async (url) => {
      assert.equal((await ask(`${url}/orders`, { method: 'POST', body: 'x' })).status, 202)
    })
    rmSync(join(folder, 'spillway.yaml'))
    const { code, out, err } = await spillway(
      folder,
      'jobs',
      'export',
      '--offline',
      '--path',
      'data',
      '--format',
      'curl',
      '--to',
      'http://10.0.0.1:3000',
    )
    assert.equal(code, 0, err)
    assert.match(out, /send 1 'http:\/\/10\.0\.0\.1:3000' 'POST' '\/orders'/)
    const missing = await spillway(folder, 'jobs', 'export', '--offline', '--path', 'nowhere', '--to', 'http://a')
    assert.deepEqual([missing.code, missing.err], [1, 'spillway jobs export: cannot open the store at nowhere: there is no such folder\n'])
  })

  test('lines can be sent to another gateway, twice without making two jobs', async (t) => {
    const folder = await stoppedGateway(t, configOf(9), async (url) => {
      for (const body of [ODD_TEXT, LARGE]) {
        assert.equal((await ask(`${url}/orders`, { method: 'POST', headers: { 'X-Key': 'k', 'Content-Type': 'a/b' }, body })).status, 202)
      }
    })
    const { out } = await spillway(folder, 'jobs', 'export', '--offline', '--queue', 'orders')
    const server = await startTestServer((_, response) => void response.end())
    t.after(() => server.kill())
    const elsewhere = mkdtempSync(join(tmpdir(), 'spillway-import-'))
    const gateway = await startGateway(configOf(server.port), { folder: elsewhere })
    t.after(async () => {
      await gateway.kill()
      rmSync(elsewhere, { recursive: true })
    })
    const statuses: string[] = []
    for (let round = 0; round < 2; round++) {
      const answer = await ask(`${gateway.adminUrl}/api/queues/orders/jobs`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/x-ndjson' },
        body: out,
      })
      assert.equal(answer.status, 200, answer.text)
      for (const line of answer.text.trimEnd().split('\n')) statuses.push((JSON.parse(line) as { status: string }).status)
    }
    assert.deepEqual(statuses, ['created', 'created', 'duplicate', 'duplicate'])
    await until('both arrive', () => server.received.length === 2)
    assert.deepEqual(
      server.received.map(({ body }) => body.toString('latin1')),
      [Buffer.from(ODD_TEXT).toString('latin1'), LARGE.toString('latin1')],
    )
    assert.equal(server.received[0]?.headers['content-type'], 'a/b')
  })
})
