/** The commands for a store's files, as processes, beside a gateway that runs and after its end. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, test } from 'node:test'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type ChildGateway, spawnGateway, startGateway } from '../support/child-gateway.ts'
import { ask } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')
let folder = ''
let server: TestServer

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-commands-'))
  server = await startTestServer()
})
after(async () => {
  await server.kill()
  rmSync(folder, { recursive: true, force: true })
})

interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function spillway(...args: readonly string[]): Promise<Ran> {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })))
}

function config(store: Record<string, unknown> = {}): ConfigFile {
  const pools = { api: [`http://127.0.0.1:${server.port}`] }
  return { pools, routes: [{ match: 'POST /work', mode: 'queue' }], store: { path: './data', ...store } } as ConfigFile
}

async function submitted(gateway: ChildGateway, delay = '1h'): Promise<string> {
  const answer = await ask(`${gateway.url}/work`, { method: 'POST', body: 'secret text', headers: { 'Spillway-Delay': delay } })
  assert.equal(answer.status, 202)
  return String(answer.headers.location)
}

test('backup, verify and restore beside a running gateway and without one', async () => {
  const gateway = await startGateway(config(), { folder })
  const job = await submitted(gateway)
  const online = await spillway('backup', 'one', '--admin', gateway.adminUrl)
  assert.deepEqual([online.code, online.err], [0, ''])
  assert.match(online.out, /one: 1 job, /)
  const sound = await spillway('verify', '--admin', gateway.adminUrl)
  assert.deepEqual([sound.code, sound.err], [0, ''])
  const again = await spillway('backup', 'one', '--admin', gateway.adminUrl)
  assert.deepEqual([again.code, /is there already/.test(again.err)], [1, true], again.err)
  const held = await spillway('backup', 'two', '--store', 'data')
  assert.deepEqual([held.code, /the gateway with pid \d+ works on it/.test(held.err)], [1, true], held.err)
  await gateway.kill()

  assert.deepEqual((await spillway('backup', 'two', 'spillway.yaml')).code, 0)
  for (const place of ['one', 'two', 'data']) assert.deepEqual([place, (await spillway('verify', place)).code], [place, 0])
  const restored = await spillway('restore', 'one', 'restored')
  assert.deepEqual([restored.code, restored.err], [0, ''])
  const second = await startGateway(config({ path: './restored' }), { folder })
  assert.equal((await ask(`${second.url}${job}`)).status, 200)
  await second.kill()
  rmSync(join(folder, 'data'), { recursive: true })
})

test('salvage tells what is lost, and what it saves runs', async () => {
  const gateway = await startGateway(config(), { folder })
  const jobs = [await submitted(gateway), await submitted(gateway)]
  await gateway.kill()
  const db = new DatabaseSync(join(folder, 'data', 'store.db'))
  db.exec('UPDATE jobs SET crc = crc + 1 WHERE seq = (SELECT min(seq) FROM jobs)')
  db.close()
  assert.equal((await spillway('verify', 'data')).code, 1)
  const saved = await spillway('salvage', 'data', 'saved')
  const lost = (jobs[0]?.split('/').at(-1) ?? '').split('.')[0]
  assert.deepEqual([saved.code, saved.err.trim()], [1, `lost: job ${lost}`])
  assert.match(saved.out, /1 job saved, 1 lost/)
  assert.equal((await spillway('verify', 'saved')).code, 0)
  const second = await startGateway(config({ path: './saved' }), { folder })
  assert.deepEqual([(await ask(`${second.url}${jobs[0]}`)).status, (await ask(`${second.url}${jobs[1]}`)).status], [404, 200])
  await second.kill()
  rmSync(join(folder, 'data'), { recursive: true })
})

test('a new key, the old one with it, rekey, and only the new one', async () => {
  const [a, b] = ['a', 'b'].map((id) => ({ id, secret: Buffer.alloc(32, id).toString('base64') }))
  const first = await startGateway(config({ encryption: { keys: [a] } }), { folder })
  const job = await submitted(first, '1s')
  await first.kill()
  const db = new DatabaseSync(join(folder, 'data', 'store.db'), { readOnly: true })
  const stored = Buffer.from((db.prepare('SELECT data FROM requests').get()?.['data'] ?? []) as Uint8Array)
  db.close()
  assert.ok(!stored.includes('secret text') && !stored.includes('/work'))
  const without = spawnGateway(config({ encryption: { keys: [b] } }), { folder })
  await without.exited
  assert.match(without.errors, /encrypted with the key a, which is not configured/)
  const second = await startGateway(config({ encryption: { keys: [b, a] } }), { folder })
  assert.equal((await ask(`${second.url}${job}/result?wait=20s`)).status, 200)
  const waiting = await submitted(second)
  await second.kill()
  const changed = await spillway('rekey', 'spillway.yaml')
  assert.deepEqual([changed.code, changed.err], [0, ''], changed.out)
  assert.deepEqual((await spillway('verify', 'data')).err, '')
  const third = await startGateway(config({ encryption: { keys: [b] } }), { folder })
  assert.deepEqual([(await ask(`${third.url}${job}/result`)).status, (await ask(`${third.url}${waiting}`)).status], [200, 200])
  await third.kill()
})

test('commands say what is missing', async () => {
  assert.deepEqual([(await spillway('verify', 'nowhere')).code, existsSync(join(folder, 'nowhere'))], [1, false])
  assert.equal((await spillway('restore', 'data')).code, 2)
  assert.equal((await spillway('salvage', 'nowhere', 'new')).code, 1)
})
