/** `doctor` as a process, without a gateway and beside a running one: what it names, its exit codes, and that it leaves nothing behind. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Finding } from '../../src/cli/doctor/finding.ts'
import { type ChildGateway, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { type Outcome, runCommand } from '../support/run-command.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

let folder = ''
let server: TestServer

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-doctor-'))
  server = await startTestServer()
})
after(async () => {
  await server.kill()
  rmSync(folder, { recursive: true })
})

/** A configuration that is fine, with changes. Nothing listens on port 2. */
function write(name: string, change: Record<string, unknown> = {}): string {
  const config = {
    listeners: ['127.0.0.1:0'],
    admin: { address: '127.0.0.1:2' },
    store: { path: './data' },
    pools: { api: { servers: [`http://127.0.0.1:${server.port}`], health: { path: '/healthz' } } },
    routes: [{ match: 'PUT /reports', mode: 'queue' }],
    ...change,
  }
  writeFileSync(join(folder, name), JSON.stringify(config))
  return name
}

async function doctor(file: string, ...more: readonly string[]): Promise<Outcome> {
  return await runCommand(['doctor', file, ...more], { cwd: folder })
}

async function findings(file: string, ...more: readonly string[]): Promise<{ readonly code: number; readonly found: readonly Finding[] }> {
  const { code, out } = await doctor(file, '--json', ...more)
  const told = JSON.parse(out) as { readonly ok: boolean; readonly findings: readonly Finding[] }
  assert.equal(told.ok, code === 0)
  return { code, found: told.findings }
}

const of = (found: readonly Finding[], check: string): readonly string[] =>
  found.filter((finding) => finding.check === check).map(({ level, says }) => `${level} ${says}`)

describe('without a gateway', () => {
  test('everything is looked at, nothing fails, and nothing is left behind', async () => {
    mkdirSync(join(folder, 'data'), { mode: 0o700 })
    const { code, found } = await findings(write('fine.yaml'))
    const checks = new Set(found.map(({ check }) => check))
    for (const check of [
      'gateway',
      'address',
      'pool api',
      'store folder',
      'file system',
      'disk space',
      'sync',
      'descriptors',
      'memory',
      'kernel',
      'node',
      'clock',
    ])
      assert.ok(checks.has(check), check)
    assert.equal(code, 0, JSON.stringify(found))
    assert.deepEqual(of(found, 'pool api'), [
      'ok all 1 servers pass the check',
      'note it has one server: while that one is away, direct requests fail',
    ])
    assert.match(of(found, 'gateway')[0] ?? '', /^note no gateway answers at http:\/\/127\.0\.0\.1:2 \(ECONNREFUSED\); what follows/)
    assert.match(of(found, 'sync')[0] ?? '', /writes with sync: median .* ms, worst .* ms/)
    assert.deepEqual(readdirSync(join(folder, 'data')), [])
  })

  test('as text: worst first, then what to do, then the counts', async () => {
    const { code, out } = await doctor(write('dead.yaml', { pools: { api: ['http://127.0.0.1:3'] } }))
    assert.equal(code, 1)
    const lines = out.split('\n')
    assert.match(lines[0] ?? '', /^fail  pool api +1 of 1 servers fail the check: 127\.0\.0\.1:3 connection refused$/)
    assert.match(lines[1] ?? '', /^ +-> start the servers/)
    assert.match(lines.at(-2) ?? '', /^1 fail, (\d warn, )?\d+ note, \d+ ok$/)
  })

  test('an address that is taken, a store folder that is a file, a disk below its reserve', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const { port } = taken.address() as AddressInfo
    writeFileSync(join(folder, 'file'), '')
    const change = { listeners: [`127.0.0.1:${port}`], store: { path: './file' } }
    const broken = await findings(write('broken.yaml', change))
    taken.close()
    assert.equal(broken.code, 1)
    assert.ok(of(broken.found, 'address').includes(`fail 127.0.0.1:${port} is in use by another process`))
    assert.deepEqual(of(broken.found, 'store folder'), [`fail ${join(folder, 'file')} is a file, not a folder`])
    const full = await findings(write('full.yaml', { store: { path: './data', diskFloor: '900000GiB' } }))
    assert.equal(full.code, 1)
    assert.match(of(full.found, 'disk space')[0] ?? '', /^fail .* free on the disk of .*: below 879 TiB every new job is refused$/)
  })

  test('a store in memory is told by its file system', async (t) => {
    if (statfsSync('/dev/shm').type !== 0x01021994) return t.skip('there is no tmpfs here')
    const path = mkdtempSync('/dev/shm/spillway-doctor-')
    t.after(() => rmSync(path, { recursive: true }))
    const { found } = await findings(write('memory.yaml', { store: { path } }))
    assert.match(of(found, 'file system')[0] ?? '', /^warn .* is on tmpfs: it is memory/)
  })

  test('something at the admin address that does not answer as a gateway does is a failure', async () => {
    const other = createHttpServer((_, response) => void response.writeHead(503).end())
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(other.address() as AddressInfo).port}`
    const { code, found } = await findings(write('other.yaml'), '--admin', url)
    other.close()
    assert.equal(code, 1)
    assert.deepEqual(of(found, 'gateway'), [`fail ${url} answered 503`])
    assert.deepEqual(of(found, 'address'), [], 'whether its addresses are free does not matter then')
  })

  test('a configuration that is wrong, and wrong arguments: exit code 2', async () => {
    writeFileSync(join(folder, 'wrong.yaml'), 'pools: { api: [] }\nroutes: [{ match: / }]\n')
    assert.deepEqual(await doctor('wrong.yaml'), { code: 2, out: '', err: 'wrong.yaml:1:15  pools.api  must have at least one entry\n' })
    const { code, err } = await doctor('fine.yaml', '--admin', 'nowhere')
    assert.equal(code, 2)
    assert.match(err, /^spillway doctor: --admin must be a URL/)
  })
})

describe('beside a running gateway', () => {
  let gateway: ChildGateway
  let life = ''
  before(async () => {
    life = mkdtempSync(join(tmpdir(), 'spillway-doctor-life-'))
    const health = { path: '/healthz', interval: '50ms', fall: 1, rise: 1 }
    const pools = { api: { servers: [`http://127.0.0.1:${server.port}`, 'http://127.0.0.1:2'], health } }
    gateway = await startGateway({ pools, routes: [{ match: 'PUT /reports', mode: 'queue' }] }, { folder: life })
    await until('the servers are checked', async () => {
      const { out } = await runCommand(['status', '--admin', gateway.adminUrl], { cwd: life })
      return / up .*\n.* down /.test(out)
    })
  })
  after(async () => {
    await gateway.kill()
    rmSync(life, { recursive: true })
  })
  const file = (): string => join(life, 'spillway.yaml')

  test('it is asked, its own limits count, and its causes are named', async () => {
    const { code, found } = await findings(file(), '--admin', gateway.adminUrl)
    assert.equal(code, 0, JSON.stringify(found))
    assert.match(of(found, 'gateway')[0] ?? '', new RegExp(`^ok runs: .*, pid ${gateway.pid}, for `))
    assert.deepEqual(of(found, 'pool api'), ['warn 1 of 2 servers are not up (127.0.0.1:2): connection refused'])
    assert.deepEqual(of(found, 'address'), [], 'its addresses are its own')
  })

  test('the measured disk shows in status, after a job was accepted', async () => {
    assert.equal((await ask(`${gateway.url}/reports`, { method: 'PUT', body: 'x' })).status, 202)
    const { out } = await runCommand(['status', '--admin', gateway.adminUrl], { cwd: life })
    assert.match(out, /^store embedded \/.*data {2}\d+(\.\d)? \w+, .* free {2}syncs .* ms, worst .* ms$/m)
  })

  test('no server left: doctor fails, status says so', async () => {
    await server.kill()
    await until('it is seen', async () => {
      const { out } = await runCommand(['status', '--admin', gateway.adminUrl], { cwd: life })
      return /^needs a look:$[^]*^ {2}pool api: no server is up: connection refused\n {4}-> /m.test(out)
    })
    const { code, found } = await findings(file(), '--admin', gateway.adminUrl)
    await server.revive()
    assert.equal(code, 1)
    assert.deepEqual(of(found, 'pool api'), ['fail no server is up: connection refused'])
  })

  test('a file that was changed after it had been read is told, one that was not is not', async () => {
    const before = await findings(file(), '--admin', gateway.adminUrl)
    assert.deepEqual(of(before.found, 'config'), [])
    const later = Date.now() / 1000 + 90
    utimesSync(file(), later, later)
    const { found } = await findings(file(), '--admin', gateway.adminUrl)
    assert.match(
      of(found, 'config')[0] ?? '',
      /^warn .*spillway\.yaml was changed .* after the gateway had read it: it runs with the older one$/,
    )
  })
})
