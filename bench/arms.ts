/** The processes of a benchmark: the origin behind the proxies, the peers, and Spillway itself as anyone would run it. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { type Cores, findProgram, freePort, ROOT, type Started, startPinned, untilAnswers } from './machine.ts'

export interface Arm {
  readonly name: string
  readonly url: string
  /** The same over TLS; absent: it does not speak that here. */
  readonly tlsUrl?: string
  readonly started: Started
}

export interface GatewayArm extends Arm {
  /** The text of /metrics. */
  metrics(): Promise<string>
}

/** The same certificate for all: RSA with 2048 bits. */
const CERTIFICATE = path.join(ROOT, 'test', 'support', 'tls', 'localhost.crt')
const KEY = path.join(ROOT, 'test', 'support', 'tls', 'localhost.key')

function fill(template: string, values: Readonly<Record<string, string | number>>): string {
  const text = readFileSync(path.join(import.meta.dirname, template), 'utf8')
  return text.replace(/@([A-Z]+)@/g, (_, name: string) => String(values[name] ?? ''))
}

/** nginx started by root would give its worker to another user, who cannot read our folder. */
function nginxUser(): string {
  const { uid, username } = userInfo()
  return uid === 0 ? `user ${username};` : ''
}

async function startNginx(
  template: string,
  cores: Cores,
  folder: string,
  more: Record<string, number | string>,
): Promise<Omit<Arm, 'name'>> {
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

export interface PeerOptions {
  readonly threads?: number
}

export async function startNginxPeer(cores: Cores, folder: string, originPort: number, { threads = 1 }: PeerOptions = {}): Promise<Arm> {
  const tlsPort = await freePort()
  const more = { ORIGIN: originPort, TLSPORT: tlsPort, CERTIFICATE, KEY, THREADS: threads }
  return { name: 'nginx', ...(await startNginx('nginx.conf', cores, folder, more)), tlsUrl: `https://127.0.0.1:${tlsPort}` }
}

export async function startHaproxy(cores: Cores, folder: string, originPort: number, { threads = 1 }: PeerOptions = {}): Promise<Arm> {
  const port = await freePort()
  const tlsPort = await freePort()
  const config = path.join(folder, 'haproxy.cfg')
  const pem = path.join(folder, 'haproxy.pem')
  writeFileSync(pem, readFileSync(CERTIFICATE, 'utf8') + readFileSync(KEY, 'utf8'))
  writeFileSync(config, fill('haproxy.cfg', { PORT: port, ORIGIN: originPort, TLSPORT: tlsPort, PEM: pem, THREADS: threads }))
  const started = startPinned(cores, findProgram('haproxy') as string, ['-db', '-f', config])
  const url = `http://127.0.0.1:${port}`
  await untilAnswers(`${url}/32`, 200, started)
  return { name: 'haproxy', url, tlsUrl: `https://127.0.0.1:${tlsPort}`, started }
}

/** What is built from a library of Node's, as its README shows. */
export async function startNodeProxy(name: 'http-proxy-3' | 'fastify', cores: Cores, originPort: number): Promise<Arm> {
  const port = await freePort()
  const script = path.join(import.meta.dirname, 'node-proxies', `${name}.ts`)
  const started = startPinned(cores, process.execPath, [script, String(port), String(originPort)])
  const url = `http://127.0.0.1:${port}`
  await untilAnswers(`${url}/32`, 200, started)
  return { name, url, started }
}

interface GatewayPorts {
  readonly listen: number
  readonly tls: number
  readonly admin: number
  readonly origin: number
  readonly closed: number
  readonly probe: number
}

function gatewayConfig(ports: GatewayPorts, threads: number): string {
  return `workers: ${threads}
listeners:
  - { address: 127.0.0.1:${ports.listen} }
  - { address: 127.0.0.1:${ports.tls}, tls: { certificates: [ { cert: ${CERTIFICATE}, key: ${KEY} } ] } }
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

export interface GatewayArmOptions extends PeerOptions {
  /** Before the script: `--cpu-prof` and its like. */
  readonly nodeArgs?: readonly string[]
  /** Of the server behind `/probe`; absent: there is none. */
  readonly probePort?: number
}

export async function startGateway(
  cores: Cores,
  folder: string,
  originPort: number,
  { nodeArgs = [], probePort, threads = 1 }: GatewayArmOptions = {},
): Promise<GatewayArm> {
  const closed = await freePort()
  const ports = {
    listen: await freePort(),
    tls: await freePort(),
    admin: await freePort(),
    origin: originPort,
    closed,
    probe: probePort ?? closed,
  }
  const config = path.join(folder, 'spillway.yaml')
  writeFileSync(config, gatewayConfig(ports, threads))
  const main = path.join(ROOT, 'src', 'main.ts')
  const started = startPinned(cores, process.execPath, [...nodeArgs, main, 'run', config])
  const url = `http://127.0.0.1:${ports.listen}`
  await untilAnswers(`${url}/32`, 200, started)
  const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${ports.admin}/metrics`)).text()
  return { name: 'spillway', url, tlsUrl: `https://127.0.0.1:${ports.tls}`, started, metrics }
}
