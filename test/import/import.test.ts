/**
 * Configurations of nginx and HAProxy, imported and run beside nginx and HAProxy themselves: the same requests get the same answers, from the
 * same servers, which were asked for the same.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { parse } from 'yaml'
import type { ConfigFile } from '../../src/config/schema.ts'
import { runCli } from '../../src/cli/main.ts'
import { startGateway } from '../support/child-gateway.ts'
import { type Child, startChild } from '../support/children.ts'
import { ask } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'
import { IMPORT_CASES, type ImportCase, type ImportRequest } from './cases.ts'

/** The gateway's process has it as well. */
process.env['STICKY_KEY'] = Buffer.alloc(32, 7).toString('base64')
const CONFIGS = join(import.meta.dirname, 'configs')
/** What servers tell of what they were asked. */
const TOLD = ['host', 'x-real-ip', 'x-api-version', 'x-edge', 'cookie', 'content-length']

function isInstalled(program: string): boolean {
  return spawnSync(program, ['-v']).error === undefined
}

interface Seen {
  readonly status: number
  readonly location: string | undefined
  readonly gateway: string | undefined
  /** Of each server that answered: what it was asked. Of nobody: the text, where the file gives one. */
  readonly bodies: readonly string[]
}

/** `times`: as often as it takes to meet each server of a pool, whoever balances. */
async function seenOf(port: number, request: ImportRequest, times = 1): Promise<Seen> {
  const { method = 'GET', path, headers = {}, body } = request
  const answers = []
  for (let i = 0; i < times; i++) {
    answers.push(
      await ask(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: { host: 'any.example', ...headers },
        ...(body !== undefined && { body }),
      }),
    )
  }
  const [first] = answers
  const bodies = [...new Set(answers.map(({ text, status }) => (status === 200 || status === 503 ? text : '')))].toSorted()
  // Whom a location names may be told with the address that was asked, as nginx does.
  const location = first?.headers.location?.replace(/^http:\/\/any\.example(:\d+)?/, '').replace(`http://shop.example:${port}`, '')
  return { status: first?.status ?? 0, location, gateway: first?.headers['x-gateway'] as string | undefined, bodies }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

class Scene implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'spillway-import-'))
  readonly #servers: TestServer[] = []
  readonly #children: Child[] = []
  port = 0

  async start(): Promise<void> {
    for (const name of ['A', 'B', 'C', 'D']) {
      this.#servers.push(
        await startTestServer(({ method, url, headers }, response) => {
          const told = TOLD.map((field) => `${field}=${String(headers[field] ?? '')}`)
          response.end(`${name} ${method} ${url} ${told.join(' ')}`)
        }),
      )
    }
    this.port = await freePort()
  }

  textOf(file: string): string {
    const values: Record<string, string> = { PORT: String(this.port) }
    for (const [i, { port }] of this.#servers.entries()) values['ABCD'[i] as string] = `127.0.0.1:${port}`
    return readFileSync(join(CONFIGS, file), 'utf8').replaceAll(/\$\{([A-Z]+)\}/g, (_, name: string) => values[name] ?? '')
  }

  async run(command: readonly string[]): Promise<void> {
    const child = startChild(command, () => undefined)
    this.#children.push(child)
    let ended = false
    void child.exited.then(() => (ended = true))
    await until('it answers', async () => {
      if (ended) throw new Error(`${command[0]} ended: ${child.output}`)
      return await ask(`http://127.0.0.1:${this.port}/`, { headers: { host: 'any.example' } }).then(
        () => true,
        () => false,
      )
    })
  }

  async spillway(yaml: string): Promise<number> {
    const config = parse(yaml) as ConfigFile
    const child = await startGateway({ ...config, listeners: ['127.0.0.1:0'] }, { folder: this.folder })
    this.#children.push(child)
    const port = Number(new URL(child.url).port)
    // Checks come first.
    await until('its servers are known', async () => (await ask(`${child.adminUrl}/readyz`)).status === 200)
    return port
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map((child) => child.kill()))
    await Promise.all(this.#servers.map((server) => server.kill()))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** The file as the program gets it, and the command that runs it. */
function written(scene: Scene, { file }: ImportCase): { readonly path: string; readonly command: readonly string[] } {
  const text = scene.textOf(file)
  if (file.endsWith('.cfg')) {
    const path = join(scene.folder, 'haproxy.cfg')
    writeFileSync(path, text)
    return { path, command: ['haproxy', '-db', '-f', path] }
  }
  writeFileSync(join(scene.folder, 'site.conf'), text)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${scene.folder}/${name};`)
  const path = join(scene.folder, 'nginx.conf')
  writeFileSync(
    path,
    `pid ${scene.folder}/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${temporary.join('\n')}\ninclude site*.conf;\n}\n`,
  )
  return { path, command: ['nginx', '-e', 'stderr', '-c', path, '-p', scene.folder, '-g', 'daemon off; master_process off;'] }
}

async function imported(path: string): Promise<{ readonly yaml: string; readonly told: string; readonly code: number }> {
  let yaml = ''
  let told = ''
  const code = await runCli(['import', path], { out: (text) => (yaml += text), err: (text) => (told += text), environment: process.env })
  return { yaml, told, code }
}

suite('an imported configuration behaves as it did', { concurrency: 2 }, () => {
  for (const row of IMPORT_CASES) {
    const program = row.file.endsWith('.cfg') ? 'haproxy' : 'nginx'
    const skip = isInstalled(program) ? false : `${program} is not installed: apt-get install ${program}`
    test(`${row.file}, beside ${program}`, { skip }, async () => {
      await using scene = new Scene()
      await scene.start()
      const { path, command } = written(scene, row)
      const { yaml } = await imported(path)
      await scene.run(command)
      const port = await scene.spillway(yaml)
      for (const request of row.requests) {
        const [here, there] = await Promise.all([seenOf(port, request, row.times), seenOf(scene.port, request, row.times)])
        assert.deepEqual(here, there, `${JSON.stringify(request)}\n${yaml}`)
      }
      for (const request of row.refused) assert.equal((await seenOf(port, request)).status, 503, JSON.stringify(request))
    })

    test(`${row.file}: what is not translated is told`, async () => {
      await using scene = new Scene()
      await scene.start()
      const { told, code } = await imported(written(scene, row).path)
      const left = [...told.matchAll(/^site\.conf:\d+ {2}(\S+)|^haproxy\.cfg:\d+ {2}(\S+)/gm)].map((found) => found[1] ?? found[2])
      assert.deepEqual(left.toSorted(), row.left.toSorted(), told)
      assert.equal(code, row.left.length + row.refused.length === 0 ? 0 : 1, told)
    })
  }
})
