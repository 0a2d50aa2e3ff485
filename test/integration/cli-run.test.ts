/** `spillway run` and `spillway --to` as processes: start, stop by signals, and the one line that a failed start is. */
import assert from 'node:assert/strict'
import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { Server, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { ask } from '../support/http-client.ts'
import { until } from '../support/until.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')
const IS_ROOT = process.getuid?.() === 0
let folder = ''
let app: Server
/** Requests to /slow that wait for `finish()`. */
const held: ServerResponse[] = []
const children: ChildProcess[] = []

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spillway-run-'))
  app = createServer((request, response) => {
    if (request.url === '/slow') held.push(response)
    else response.end(`app ${request.method} ${request.url}`)
  })
  await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve))
})
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const response of held.splice(0)) response.destroy()
})
after(() => {
  app.closeAllConnections()
  app.close()
  rmSync(folder, { recursive: true })
})

class Running {
  out = ''
  err = ''
  code: number | string | undefined
  readonly process: ChildProcess

  constructor(args: readonly string[]) {
    this.process = spawn(process.execPath, [MAIN, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
    children.push(this.process)
    this.process.stdout?.on('data', (chunk: Buffer) => (this.out += chunk.toString()))
    this.process.stderr?.on('data', (chunk: Buffer) => (this.err += chunk.toString()))
    this.process.on('exit', (code, signal) => (this.code = code ?? signal ?? 'unknown'))
  }

  /** The address of its listener, once it listens. */
  async url(): Promise<string> {
    let address: string | undefined
    await until('the gateway listens', () => {
      assert.equal(this.code, undefined, this.out + this.err)
      address = /listening on (?:http:\/\/)?([\d.]+:\d+)/.exec(this.out)?.[1]
      return address !== undefined
    })
    return `http://${address}`
  }

  async ended(): Promise<number | string | undefined> {
    await until('the process has ended', () => this.code !== undefined)
    return this.code
  }
}

function configured(name: string, text = ''): string {
  const file = join(folder, name)
  writeFileSync(
    file,
    `pools: { app: [http://127.0.0.1:${portOf(app)}] }\nroutes: [{ match: POST /jobs, mode: queue }, { match: "/*" }]\nadmin: { address: 127.0.0.1:0 }
store: { path: ./data-${name} }\n${text.includes('listeners') ? '' : 'listeners: [127.0.0.1:0]\n'}${text}`,
  )
  return file
}

describe('run', () => {
  test('serves, reads its configuration again at SIGHUP, finishes what is in flight at SIGTERM, and exits 0', async () => {
    const running = new Running(['run', configured('a.yaml')])
    const url = await running.url()
    assert.equal((await ask(`${url}/x`)).text, 'app GET /x')
    running.process.kill('SIGHUP')
    await until('it says so', () => running.out.includes('a.yaml was read again and holds from now on\n'))
    const slow = ask(`${url}/slow`)
    await until('the slow request is with the app', () => held.length === 1)
    running.process.kill('SIGTERM')
    await until(
      'it stops accepting',
      async () =>
        await ask(`${url}/x`).then(
          (answer) => answer.status === 503,
          () => true,
        ),
    )
    held[0]?.end('slowly')
    assert.equal((await slow).text, 'slowly')
    assert.equal(await running.ended(), 0)
    assert.equal(running.err, '')
  })

  test('a second signal ends it at once, with exit code 1', async () => {
    const running = new Running(['run', configured('b.yaml')])
    const slow = ask(`${await running.url()}/slow`).then(
      () => 'answered',
      () => 'broken',
    )
    await until('the slow request is with the app', () => held.length === 1)
    running.process.kill('SIGINT')
    // The same signal is sent until it counts as a second one: what arrives together is one keystroke.
    await until('it has ended', () => {
      running.process.kill('SIGINT')
      return running.code !== undefined
    })
    assert.equal(running.code, 1)
    assert.equal(await slow, 'broken')
  })

  test('a port in use is one clear line and exit code 1', async () => {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const port = portOf(taken)
    const running = new Running(['run', configured('c.yaml', `listeners: [127.0.0.1:${port}]\n`)])
    assert.equal(await running.ended(), 1)
    assert.equal(running.err, `spillway: 127.0.0.1:${port} is in use by another process; change listeners, or stop that process\n`)
    taken.close()
  })

  test('an access log that cannot be written is one clear line and exit code 1', async () => {
    writeFileSync(join(folder, 'no-folder'), '')
    mkdirSync(join(folder, 'is-folder'))
    for (const [access, code, hint] of [
      ['missing/a.log', 'ENOENT', 'make its folder, or change log.access'],
      ['no-folder/a.log', 'ENOTDIR', 'change log.access or its rights'],
      ['is-folder', 'EISDIR', 'change log.access or its rights'],
    ] as const) {
      const running = new Running(['run', configured('l.yaml', `log: { access: ./${access} }\n`)])
      assert.equal(await running.ended(), 1)
      assert.equal(running.err, `spillway: the access log ${join(folder, access)} cannot be written (${code}); ${hint}\n`)
    }
  })

  test('an access log without the right to write is not blamed on the store', {
    skip: IS_ROOT && 'root may write everywhere',
  }, async () => {
    mkdirSync(join(folder, 'locked'), { mode: 0o500 })
    const running = new Running(['run', configured('m.yaml', 'log: { access: ./locked/a.log }\n')])
    assert.equal(await running.ended(), 1)
    const path = join(folder, 'locked', 'a.log')
    assert.equal(running.err, `spillway: the access log ${path} cannot be written (EACCES); change log.access or its rights\n`)
  })

  test('a store that cannot be written is one clear line and exit code 1', async () => {
    writeFileSync(join(folder, 'file'), '')
    const text = `pools: { app: [http://127.0.0.1:1] }\nroutes: [{ match: POST /, mode: queue }]\nadmin: { address: 127.0.0.1:0 }\nlisteners: [127.0.0.1:0]\nstore: { path: ./file/data }\n`
    writeFileSync(join(folder, 'd.yaml'), text)
    const running = new Running(['run', 'd.yaml'])
    assert.equal(await running.ended(), 1)
    assert.match(running.err, /^spillway: [^\n]*file\/data[^\n]*\n$/)
  })
})

test('--to puts a gateway in front of an app, without a file', async () => {
  const args = [
    '--to',
    `http://127.0.0.1:${portOf(app)}`,
    '--queue',
    'POST /reports',
    '--listen',
    '127.0.0.1:0',
    '--admin',
    '127.0.0.1:0',
    '--data',
    'jobs',
  ]
  const running = new Running(args)
  const url = await running.url()
  assert.equal((await ask(`${url}/x`)).text, 'app GET /x')
  const accepted = await ask(`${url}/reports`, { method: 'POST', body: 'x' })
  assert.equal(accepted.status, 202)
  const result = await ask(`${url}${accepted.headers.location}/result?wait=30s`)
  assert.equal(result.text, 'app POST /reports')
  assert.ok(existsSync(join(folder, 'jobs')))
  running.process.kill('SIGTERM')
  assert.equal(await running.ended(), 0)
})
