/** The processes of a benchmark: the origin behind the proxies, the peers, and Spillway itself as anyone would run it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { type Cores, findProgram, freePort, ROOT, type Started, startPinned, untilAnswers } from './machine.ts'

export interface Arm {
  readonly name: string
  readonly url: string
  readonly started: Started
}

export interface GatewayArm extends Arm {
  /** The text of /metrics. */
  metrics(): Promise<string>
}

function fill(template: string, values: Readonly<Record<string, string | number>>): string {
  const text = readFileSync(path.join(import.meta.dirname, template), 'utf8')
  return text.replace(/@([A-Z]+)@/g, (_, name: string) => String(values[name] ?? ''))
}

/** nginx started by root would give its worker to another user, who cannot read our folder. */
function nginxUser(): string {
  const { uid, username } = userInfo()
  return uid === 0 ? `user ${username};` : ''
}

async function startNginx(template: string, cores: Cores, folder: string, more: Record<string, number>): Promise<Omit<Arm, 'name'>> {
  const port = await freePort()
  const config = path.join(folder, template)
  writeFileSync(config, fill(template, { USER: nginxUser(), FOLDER: folder, PORT: port, ...more }))
  const started = startPinned(cores, findProgram('nginx') as string, ['-p', folder, '-c', config, '-e', 'stderr'])
  const url = `http://127.0.0.1:${port}`
  await untilAnswers(`${url}/32`, 200, started)
  return { url, started }
}

export async function startOrigin(cores: Cores, folder: string): Promise<Arm> {
  mkdirSync(path.join(folder, 'files'))
  writeFileSync(path.join(folder, 'files', '64k'), Buffer.alloc(64 * 1024, 'x'))
  return { name: 'origin', ...(await startNginx('origin.conf', cores, folder, {})) }
}

export async function startNginxPeer(cores: Cores, folder: string, originPort: number): Promise<Arm> {
  return { name: 'nginx', ...(await startNginx('nginx.conf', cores, folder, { ORIGIN: originPort })) }
}

export async function startHaproxy(cores: Cores, folder: string, originPort: number): Promise<Arm> {
  const port = await freePort()
  const config = path.join(folder, 'haproxy.cfg')
  writeFileSync(config, fill('haproxy.cfg', { PORT: port, ORIGIN: originPort }))
  const started = startPinned(cores, findProgram('haproxy') as string, ['-db', '-f', config])
  const url = `http://127.0.0.1:${port}`
  await untilAnswers(`${url}/32`, 200, started)
  return { name: 'haproxy', url, started }
}

function gatewayConfig(ports: { listen: number; admin: number; origin: number; closed: number; probe: number }): string {
  return `listeners: [ { address: 127.0.0.1:${ports.listen} } ]
admin: { address: 127.0.0.1:${ports.admin} }
store: { engine: embedded, path: ./data }
pools:
  origin: { servers: [ http://127.0.0.1:${ports.origin} ], maxInFlight: 1024 }
  absent: { servers: [ http://127.0.0.1:${ports.closed} ] }
  probe: { servers: [ http://127.0.0.1:${ports.probe} ] }
queues:
  parked: { pool: absent, limits: { jobs: 100000000, bytes: 1000GiB, finished: 1000GiB } }
  work: { pool: origin, concurrency: 64, limits: { jobs: 100000000, bytes: 1000GiB, finished: 1000GiB } }
  probe: { pool: probe }
routes:
  - { match: POST /probe, mode: queue, queue: probe }
  - { match: POST /parked, mode: queue, queue: parked }
  - { match: POST /work, mode: queue, queue: work }
  - { match: "/*", pool: origin }
`
}

export interface GatewayArmOptions {
  /** Before the script: `--cpu-prof` and its like. */
  readonly nodeArgs?: readonly string[]
  /** Of the server behind `/probe`; absent: there is none. */
  readonly probePort?: number
}

export async function startGateway(
  cores: Cores,
  folder: string,
  originPort: number,
  { nodeArgs = [], probePort }: GatewayArmOptions = {},
): Promise<GatewayArm> {
  const closed = await freePort()
  const ports = { listen: await freePort(), admin: await freePort(), origin: originPort, closed, probe: probePort ?? closed }
  const config = path.join(folder, 'spillway.yaml')
  writeFileSync(config, gatewayConfig(ports))
  const main = path.join(ROOT, 'src', 'main.ts')
  const started = startPinned(cores, process.execPath, [...nodeArgs, main, 'run', config])
  const url = `http://127.0.0.1:${ports.listen}`
  await untilAnswers(`${url}/32`, 200, started)
  const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${ports.admin}/metrics`)).text()
  return { name: 'spillway', url, started, metrics }
}
