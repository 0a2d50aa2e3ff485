/**
 * `spillway demo`: a gateway and three ordinary servers, each a process of its own, so that each can be killed and is seen to come back.
 * Everything is real: the configuration it runs on lies in the data folder.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { extname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Arguments, Command, ExitCode, Io } from '../command.ts'
import { EXIT } from '../command.ts'
import { bannerText } from './banner.ts'
import { freePort } from './free-port.ts'
import { stopRequest } from '../stop-request.ts'
import { showEvents } from './gateway-events.ts'
import type { Launched } from './supervised.ts'
import { Supervised } from './supervised.ts'

const BACK_AFTER_SECONDS = 8
const SERVER_NAMES = ['a', 'b', 'c'] as const
const PORT = 8080
const ADMIN_PORT = 9900
const SERVER_PORT = 8081
/** `.ts` in the repository, `.js` in the published package. */
const EXTENSION = extname(fileURLToPath(import.meta.url))

export const demoCommand: Command = {
  name: 'demo',
  positionals: [],
  summary: 'Run a gateway with three sample servers, and print what to try.',
  details: 'A port that is taken: the next free one. Without --data, jobs are kept in a temporary folder that goes with the demo.',
  options: {
    data: { type: 'string', value: 'FOLDER', help: 'where jobs are kept' },
    port: { type: 'string', value: 'PORT', help: `where clients connect (default: ${PORT})` },
    'admin-port': { type: 'string', value: 'PORT', help: `health, metrics and status (default: ${ADMIN_PORT})` },
  },
  async run(args, io) {
    const ports = await findPorts(args)
    if (typeof ports === 'string') {
      io.err(`spillway demo: ${ports}\n`)
      return EXIT.usage
    }
    const given = args.text('data')
    const dataFolder = given === undefined ? mkdtempSync(join(tmpdir(), 'spillway-demo-')) : resolve(given)
    mkdirSync(dataFolder, { recursive: true, mode: 0o700 })
    try {
      return await new Demo(dataFolder, ports, io).run()
    } finally {
      if (given === undefined) rmSync(dataFolder, { recursive: true, force: true })
    }
  },
}

interface Ports {
  readonly gateway: number
  readonly admin: number
  readonly servers: readonly number[]
}

/** Ports are chosen once: who comes back, comes back at the same place. */
async function findPorts(args: Arguments): Promise<Ports | string> {
  const chosen: number[] = []
  const pick = async (name: string, fallback: number): Promise<string | undefined> => {
    const text = args.text(name) ?? String(fallback)
    if (!/^\d{1,5}$/.test(text) || Number(text) < 1 || Number(text) > 65_535) return `--${name} must be a port, not ${JSON.stringify(text)}`
    let port = await freePort(Number(text))
    while (port !== undefined && chosen.includes(port)) port = await freePort(port + 1)
    if (port === undefined) return `no port from ${text} on is free`
    chosen.push(port)
    return undefined
  }
  const wrong = (await pick('port', PORT)) ?? (await pick('admin-port', ADMIN_PORT))
  if (wrong !== undefined) return wrong
  const [gateway = 0, admin = 0] = chosen
  for (const _ of SERVER_NAMES) {
    const none = await pick('server-port', Math.max(SERVER_PORT, gateway + 1))
    if (none !== undefined) return none
  }
  return { gateway, admin, servers: chosen.slice(2) }
}

class Demo {
  readonly #dataFolder: string
  readonly #ports: Ports
  readonly #io: Io
  readonly #servers: readonly Supervised[]
  readonly #gateway: Supervised
  #isStarted = false

  constructor(dataFolder: string, ports: Ports, io: Io) {
    this.#dataFolder = dataFolder
    this.#ports = ports
    this.#io = io
    const common = { backAfterMs: BACK_AFTER_SECONDS * 1000, say: this.#say }
    this.#servers = SERVER_NAMES.map(
      (name, i) =>
        new Supervised({ ...common, name, launch: () => this.#launchServer(name, ports.servers[i] ?? 0), onEnd: this.#forgetBusy }),
    )
    this.#gateway = new Supervised({ ...common, name: 'gateway', launch: () => this.#launchGateway() })
  }

  async run(): Promise<ExitCode> {
    // At a second request this process ends at once, and the others with it: their channel breaks.
    const stopped = stopRequest(['SIGHUP'], () => {})
    writeFileSync(this.#configFile, configText(this.#ports))
    const started = Promise.all(this.#servers.map((server) => server.start())).then(
      async (all) => all.every(Boolean) && (await this.#gateway.start()),
    )
    const isStarted = await Promise.race([started, stopped])
    if (isStarted === true) {
      this.#io.out(this.#banner())
      this.#isStarted = true
      await stopped
      this.#say('stopping')
    }
    // The gateway first: the servers may finish what it has in flight.
    await this.#gateway.stop()
    await Promise.all(this.#servers.map((server) => server.stop()))
    if (isStarted !== false) return EXIT.ok
    this.#io.err('spillway demo: a process of it could not be started\n')
    return EXIT.failed
  }

  readonly #say = (line: string): void => {
    if (this.#isStarted) this.#io.out(`${line}\n`)
  }

  get #configFile(): string {
    return join(this.#dataFolder, 'demo.yaml')
  }

  /** A server that was killed could not take its note away. */
  readonly #forgetBusy = (pid: number): void => {
    const file = join(this.#dataFolder, 'busy')
    try {
      if (readFileSync(file, 'utf8').trim() === String(pid)) rmSync(file)
    } catch {
      // Nobody was busy.
    }
  }

  #launchServer(name: string, port: number): Launched {
    const script = join(import.meta.dirname, `sample-server${EXTENSION}`)
    const child = spawn(process.execPath, [script, name, String(port), this.#dataFolder], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      detached: true,
    })
    return { process: child, ready: new Promise((resolve) => child.once('message', () => resolve())) }
  }

  #launchGateway(): Launched {
    const script = join(import.meta.dirname, '..', '..', `main${EXTENSION}`)
    const child = spawn(process.execPath, [script, 'run', this.#configFile], {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      detached: true,
    })
    if (child.stdout === null) throw new Error('the gateway has no output to read')
    const index = (address: string): number => this.#ports.servers.findIndex((port) => address.endsWith(`:${port}`))
    const ready = showEvents(child.stdout, {
      say: this.#say,
      serverName: (address) => SERVER_NAMES[index(address)] ?? address,
      serverPid: (address) => this.#servers[index(address)]?.pid,
      isShown: () => this.#isStarted,
    })
    return { process: child, ready }
  }

  #banner(): string {
    return bannerText({
      port: this.#ports.gateway,
      adminPort: this.#ports.admin,
      dataFolder: this.#dataFolder,
      gatewayPid: this.#gateway.pid,
      serverPids: Object.fromEntries(SERVER_NAMES.map((name, i) => [name, this.#servers[i]?.pid ?? 0])),
      backAfterSeconds: BACK_AFTER_SECONDS,
    })
  }
}

function configText({ gateway, admin, servers }: Ports): string {
  return `# The configuration that the demo runs on.
listeners: [127.0.0.1:${gateway}]
admin: { address: 127.0.0.1:${admin} }
store: { path: ./store }
pools:
  demo:
    servers: [${servers.map((port) => `http://127.0.0.1:${port}`).join(', ')}]
    # Quicker than the defaults, so that one need not wait for what there is to see.
    health: { path: /healthz, interval: 500ms, timeout: 400ms, fall: 2, rise: 1 }
    slowStart: 2s
    failoverGrace: 2s
routes:
  - { match: GET /hello }
  - { match: POST /reports, mode: queue }
  # These orders may be taken twice without harm. Where they may not, leave redeliver out: a request is then never sent again that may have arrived.
  - { match: POST /orders, mode: spill, redeliver: always }
log: { format: json }
drainTimeout: 2s
`
}
