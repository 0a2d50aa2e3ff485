/**
 * The demo as a newcomer meets it: starts it, runs the four commands that it prints, and kills what they say by the pids it prints.
 * It takes as long as the demo does: what is killed comes back after 8 s.
 */
import assert from 'node:assert/strict'
import type { ChildProcessByStdio } from 'node:child_process'
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { ask, blocks, open } from '../support/http-client.ts'
import { until } from '../support/until.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')

async function anyFreePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

class RunningDemo {
  readonly process: ChildProcessByStdio<null, Readable, Readable>
  output = ''
  errors = ''
  exit: number | string | undefined

  private constructor(args: readonly string[]) {
    this.process = spawn(process.execPath, [MAIN, 'demo', ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.process.stdout.on('data', (chunk: Buffer) => (this.output += chunk.toString()))
    this.process.stderr.on('data', (chunk: Buffer) => (this.errors += chunk.toString()))
    this.process.on('exit', (code, signal) => (this.exit = code ?? signal ?? 'unknown'))
  }

  /** Resolves when the banner has been printed. */
  static async start(): Promise<RunningDemo> {
    const demo = new RunningDemo(['--port', String(await anyFreePort()), '--admin-port', String(await anyFreePort())])
    await until('the demo has printed its commands', () => {
      assert.equal(demo.exit, undefined, demo.output + demo.errors)
      return /^4 .*\n/m.test(demo.output)
    })
    return demo
  }

  match(pattern: RegExp): string {
    return pattern.exec(this.output)?.[1] ?? assert.fail(`${String(pattern)} is not in:\n${this.output}${this.errors}`)
  }

  get url(): string {
    return this.match(/^Spillway demo {2}(\S+)/)
  }

  get dataFolder(): string {
    return this.match(/^Spillway demo .* data (\S+)\n/)
  }

  /** The pid that was printed last for a server or for the gateway. */
  pid(name: string): number {
    const backs = [...this.output.matchAll(new RegExp(`^${name} is back: pid (\\d+)$`, 'gm'))]
    const first = name === 'gateway' ? /^gateway pid (\d+)/m : new RegExp(`\\| servers .*\\b${name} (\\d+)`)
    return Number(backs.at(-1)?.[1] ?? this.match(first))
  }

  backs(name: string): number {
    return [...this.output.matchAll(new RegExp(`^${name} is back: pid `, 'gm'))].length
  }

  get pids(): number[] {
    return ['gateway', 'a', 'b', 'c'].map((name) => this.pid(name))
  }

  kill(name: string): void {
    process.kill(this.pid(name), 'SIGKILL')
  }

  async stop(): Promise<void> {
    if (this.exit === undefined) this.process.kill('SIGTERM')
    await until('the demo has ended', () => this.exit !== undefined)
  }
}

const REPORT = {
  method: 'POST',
  headers: { prefer: 'respond-async, events', 'content-type': 'application/x-www-form-urlencoded' },
  body: '{"title":"Q3"}',
}

interface JobEvent {
  readonly status: string
  readonly links: Readonly<Record<string, string>>
}

function readEvent(block: string): JobEvent | undefined {
  const data = /^data: (.*)$/m.exec(block)?.[1]
  return data === undefined ? undefined : (JSON.parse(data) as JobEvent)
}

describe('the demo', () => {
  let demo: RunningDemo
  before(async () => {
    demo = await RunningDemo.start()
  })
  after(async () => {
    await demo.stop()
    // Shown only when a test failed.
    console.log(demo.output + demo.errors)
  })

  test('prints what the handbook shows', () => {
    const { port } = new URL(demo.url)
    const [a, b, c] = ['a', 'b', 'c'].map((name) => demo.pid(name))
    const lines = demo.output.split('\n')
    assert.match(lines[0] ?? '', /^Spillway demo {2}http:\/\/127\.0\.0\.1:\d+ {3}admin http:\/\/127\.0\.0\.1:\d+ {3}data \/\S+$/)
    assert.equal(lines[1], `gateway pid ${demo.pid('gateway')} | servers a ${a}, b ${b}, c ${c} | whatever you kill comes back after 8 s`)
    assert.equal(lines[2], `1  curl localhost:${port}/hello`.padEnd(63) + '# again: another server answers')
    assert.ok(lines[3]?.startsWith(`2  curl -N localhost:${port}/reports -H 'Prefer: respond-async, events' -d '{"title":"Q3"}' `))
    assert.ok(lines[3]?.endsWith(`  # kill the server that works on it: kill -9 $(cat ${demo.dataFolder}/busy)`))
    assert.ok(lines[4]?.startsWith(`3  kill -9 ${a} ${b} ${c}; time curl -i localhost:${port}/orders -d tea=1 `))
    assert.ok(lines[4]?.endsWith('  # nothing is alive, and yet, after 8 s: 200'))
    assert.equal(
      lines[5],
      `4  the same as 2, then kill -9 ${demo.pid('gateway')} (the gateway), then curl the link that 2 printed first: the job is still there`,
    )
  })

  test('1: another server answers', async () => {
    const names = new Set<unknown>()
    await until('two servers have answered', async () => {
      const answer = await ask(`${demo.url}/hello`)
      assert.equal(answer.status, 200)
      names.add(answer.json()['server'])
      return names.size > 1
    })
  })

  test('2: the server that works on a job is killed; another one does the work', async () => {
    const response = await open(`${demo.url}/reports`, REPORT)
    assert.equal(response.statusCode, 202)
    const busy = join(demo.dataFolder, 'busy')
    const seen: JobEvent[] = []
    let killed = 0
    for await (const block of blocks(response, '\n\n')) {
      const event = readEvent(block)
      if (event !== undefined) seen.push(event)
      if (killed !== 0 || !existsSync(busy)) continue
      killed = Number(readFileSync(busy, 'utf8'))
      process.kill(killed, 'SIGKILL')
    }
    assert.equal(seen.at(-1)?.status, 'succeeded')
    const result = await ask(new URL(seen[0]?.links['result'] ?? '', demo.url).href)
    assert.equal(result.status, 200)
    assert.deepEqual(result.json()['report'], { title: 'Q3' })
    assert.notEqual(result.json()['pid'], killed)
    const down = new RegExp(`^[abc] down: .* \\(pid ${killed}\\); \\d+ of 256 buckets → [abc], [abc]; 1 job taken back`, 'm')
    await until('the gateway tells what happened', () => down.test(demo.output))
    assert.ok(!existsSync(busy), 'nobody is busy any more')
    await until('the killed server is back', () => demo.backs('a') + demo.backs('b') + demo.backs('c') === 1)
  })

  test('3: all servers are killed; the client is held and gets its 200 when they are back', async () => {
    const killed = ['a', 'b', 'c'].map((name) => demo.pid(name))
    for (const pid of killed) process.kill(pid, 'SIGKILL')
    const answer = await ask(`${demo.url}/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: 'tea=1',
    })
    assert.equal(answer.status, 200)
    assert.equal(answer.json()['order'], 'tea=1')
    assert.equal(answer.headers['spillway-status'], 'succeeded')
    await until('all servers are back', () => demo.backs('a') + demo.backs('b') + demo.backs('c') === 4)
    assert.match(demo.output, /^a ended \(pid \d+, SIGKILL\); it comes back in 8 s$/m)
  })

  test('4: the gateway is killed; the job is still there and ends well', async () => {
    const response = await open(`${demo.url}/reports`, REPORT)
    let link = ''
    try {
      for await (const block of blocks(response, '\n\n')) {
        const self = readEvent(block)?.links['self']
        if (self === undefined || link !== '') continue
        link = new URL(self, demo.url).href
        demo.kill('gateway')
      }
    } catch {
      // The stream broke with the gateway.
    }
    await until('the gateway is back', () => demo.backs('gateway') === 1)
    const ended = await ask(`${link}?wait=30s`)
    assert.equal(ended.json()['status'], 'succeeded')
    assert.deepEqual((await ask(`${link}/result`)).json()['report'], { title: 'Q3' })
  })

  test('SIGTERM ends everything, with exit code 0, and nothing is left behind', async () => {
    const { dataFolder, pids } = demo
    await demo.stop()
    assert.equal(demo.exit, 0)
    assert.equal(demo.errors, '')
    await until('all its processes have ended', () => !pids.some(isAlive))
    assert.ok(!existsSync(dataFolder))
  })
})

test('when the demo itself is killed, its processes end too', async () => {
  const demo = await RunningDemo.start()
  const { pids } = demo
  demo.process.kill('SIGKILL')
  await until('all its processes have ended', () => !pids.some(isAlive))
})
