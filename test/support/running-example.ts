/** An example as a user starts it, with ports and data of its own. Its processes are known by what it prints. */
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startChild } from './children.ts'
import { ask } from './http-client.ts'
import { until } from './until.ts'

const START = join(import.meta.dirname, '..', '..', 'examples', 'start.ts')

/** A bundler and four processes: on a busy machine that takes a while. */
const START_LIMIT_MS = 120_000

export interface RunningExample extends AsyncDisposable {
  readonly url: string
  /** SIGKILL, for `gateway`, `app a` or `app b`; it comes back by itself. */
  kill(name: string): void
}

export async function startExample(name: string, env: Readonly<Record<string, string>> = {}): Promise<RunningExample> {
  const data = mkdtempSync(join(tmpdir(), 'spillway-example-'))
  const [port, adminPort, a, b] = await freePorts(4)
  const set = { PORT: port, ADMIN_PORT: adminPort, APP_A: a, APP_B: b, DATA: data, ...env }
  const pids = new Map<string, number>()
  const child = startChild(
    ['env', ...Object.entries(set).map(([key, value]) => `${key}=${value}`), process.execPath, START, name],
    (line) => {
      const [, who = '', pid] = /^(.+): kill -9 (\d+)$/.exec(line) ?? []
      if (pid !== undefined) pids.set(who, Number(pid))
    },
  )
  const killAll = (): void => {
    for (const who of pids.keys()) kill(who)
  }
  const kill = (who: string): void => {
    try {
      process.kill(pids.get(who) as number, 'SIGKILL')
    } catch {
      // It is gone already.
    }
  }
  process.on('exit', killAll)
  const url = `http://127.0.0.1:${port}`
  const example: RunningExample = {
    url,
    kill,
    async [Symbol.asyncDispose]() {
      child.signal('SIGTERM')
      await child.exited
      killAll()
      process.off('exit', killAll)
      rmSync(data, { recursive: true, force: true })
    },
  }
  let seen = ''
  const serves = async (): Promise<boolean> => {
    const answer = await ask(url).catch((error: unknown) => String(error))
    seen = typeof answer === 'string' ? answer : String(answer.status)
    return seen === '200'
  }
  try {
    await until(() => `the example serves its page, not ${seen}; it printed ${child.output}`, serves, START_LIMIT_MS)
  } catch (error) {
    await example[Symbol.asyncDispose]()
    throw error
  }
  return example
}

/** Nobody listens there now. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
