/** Four servers that tell what they were asked, and before them nginx or HAProxy with a configuration, and a gateway with what is imported of it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import type { ConfigFile } from '../../src/config/schema.ts'
import { runCli } from '../../src/cli/main.ts'
import { startGateway } from '../support/child-gateway.ts'
import { type Child, startChild } from '../support/children.ts'
import { ask } from '../support/http-client.ts'
import { startTestServer, type TestServer } from '../support/test-server.ts'
import { until } from '../support/until.ts'

/** The gateway's process has it as well. */
process.env['STICKY_KEY'] = Buffer.alloc(32, 7).toString('base64')

export type Original = 'nginx' | 'haproxy'

/** What each configuration begins with. */
export const HAPROXY = 'defaults\n mode http\n timeout connect 2s\n timeout client 30s\n timeout server 30s\n'
export const NGINX_HOST = 'proxy_set_header Host $host;'

/** What servers tell of what they were asked. */
const TOLD = ['host', 'x-real-ip', 'x-api-version', 'x-edge', 'x-debug', 'x-proto', 'cookie', 'content-length']
const NAMES = ['A', 'B', 'C', 'D']

/** Why a test is left out. */
export function notInstalled(program: Original): string | false {
  return spawnSync(program, ['-v']).error === undefined ? false : `${program} is not installed: apt-get install ${program}`
}

export class Scene implements AsyncDisposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'spillway-import-'))
  readonly servers: TestServer[] = []
  readonly #children: Child[] = []
  /** What stands for `${NAME}` in a configuration. */
  readonly values = new Map<string, string>()

  /** `ports`: names of those on which it listens. */
  static async start(ports: readonly string[] = ['PORT']): Promise<Scene> {
    const scene = new Scene()
    for (const name of NAMES) {
      const server = await startTestServer(({ method, url, headers }, response) => {
        const told = TOLD.map((field) => `${field}=${String(headers[field] ?? '')}`)
        response.setHeader('X-Powered-By', 'test')
        response.end(`${name} ${method} ${url} ${told.join(' ')}`)
      })
      scene.servers.push(server)
      scene.values.set(name, `127.0.0.1:${server.port}`)
    }
    for (const name of ports) scene.values.set(name, String(await freePort()))
    scene.values.set('FOLDER', scene.folder)
    return scene
  }

  port(name = 'PORT'): number {
    return Number(this.values.get(name))
  }

  /** The file as the program gets it, and the command that runs it. */
  write(program: Original, written: string): { readonly path: string; readonly command: readonly string[] } {
    const text = written.replaceAll(/\$\{([A-Z]+)\}/g, (found, name: string) => this.values.get(name) ?? found)
    if (program === 'haproxy') {
      const path = join(this.folder, 'haproxy.cfg')
      writeFileSync(path, text)
      return { path, command: ['haproxy', '-db', '-f', path] }
    }
    writeFileSync(join(this.folder, 'site.conf'), text)
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${this.folder}/${name};`)
    const path = join(this.folder, 'nginx.conf')
    writeFileSync(
      path,
      `pid ${this.folder}/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${temporary.join('\n')}\ninclude site*.conf;\n}\n`,
    )
    return { path, command: ['nginx', '-e', 'stderr', '-c', path, '-p', this.folder, '-g', 'daemon off; master_process off;'] }
  }

  /** `isReady`: whether it does what it is for. */
  async run(command: readonly string[], isReady: () => Promise<unknown>): Promise<void> {
    const child = startChild(command, () => undefined)
    this.#children.push(child)
    let ended = false
    void child.exited.then(() => (ended = true))
    await until('it answers', async () => {
      if (ended) throw new Error(`${command[0]} ended: ${child.output}${child.errors}`)
      return await isReady().then(
        () => true,
        () => false,
      )
    })
  }

  /** Its ports by those of the original. */
  async spillway(yaml: string): Promise<ReadonlyMap<number, number>> {
    const config = parse(yaml) as ConfigFile
    const ports = new Map<number, number>()
    const listeners: NonNullable<ConfigFile['listeners']> = []
    for (const listener of config.listeners ?? []) {
      const { address, ...keys } = typeof listener === 'string' ? { address: listener } : listener
      const own = await freePort()
      ports.set(Number(/\d+$/.exec(address)?.[0]), own)
      listeners.push({ address: `127.0.0.1:${own}`, ...keys })
    }
    const child = await startGateway({ ...config, listeners }, { folder: this.folder })
    this.#children.push(child)
    // Checks come first.
    await until('its servers are known', async () => (await ask(`${child.adminUrl}/readyz`)).status === 200)
    return ports
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map((child) => child.kill()))
    await Promise.all(this.servers.map((server) => server.kill()))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

export async function imported(path: string): Promise<{ readonly yaml: string; readonly told: string; readonly code: number }> {
  let yaml = ''
  let told = ''
  const code = await runCli(['import', path], { out: (text) => (yaml += text), err: (text) => (told += text), environment: process.env })
  return { yaml, told, code }
}

/** First words of the lines that are not translated. */
export function leftIn(told: string): string[] {
  return [...told.matchAll(/^site\.conf:\d+ {2}(\S+)|^haproxy\.cfg:\d+ {2}(\S+)/gm)].map((found) => found[1] ?? found[2] ?? '').toSorted()
}

/** Runs both; `left`: first words of what is not translated. Gives the ports of each, by their names. */
export async function besides(
  scene: Scene,
  program: Original,
  { text, isReady, left = [] }: { readonly text: string; readonly isReady: () => Promise<unknown>; readonly left?: readonly string[] },
): Promise<readonly ((name: string) => number)[]> {
  const { path, command } = scene.write(program, text)
  const { yaml, told } = await imported(path)
  assert.deepEqual(leftIn(told), left, told)
  await scene.run(command, isReady)
  const ports = await scene.spillway(yaml)
  return [(name) => scene.port(name), (name) => ports.get(scene.port(name)) ?? 0]
}
