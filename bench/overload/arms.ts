/** Who stands in front of the servers of the overload benchmark: each lets a server have as many requests as it works on at a time. */
import { readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import type { Arm } from '../arms.ts'
import { type Cores, findProgram, freePort, ROOT, type Started, startPinned, untilListening } from '../machine.ts'
import { SLOTS } from './crowd-main.ts'

export interface Place {
  readonly cores: Cores
  readonly folder: string
  readonly ports: readonly number[]
}

interface Template {
  readonly file: string
  readonly server: (port: number) => string
}

/** Fills in the template, and says where it is and what it listens on. */
async function written({ file, server }: Template, { folder, ports }: Place): Promise<{ config: string; port: number }> {
  const port = await freePort()
  const { uid, username } = userInfo()
  const values: Readonly<Record<string, string>> = {
    PORT: String(port),
    FOLDER: folder,
    // nginx started by root would give its worker to another user, who cannot read our folder.
    USER: uid === 0 ? `user ${username};` : '',
    SERVERS: ports.map(server).join('\n'),
  }
  const text = readFileSync(path.join(import.meta.dirname, file), 'utf8')
  const config = path.join(folder, `overload-${file}`)
  writeFileSync(
    config,
    text.replace(/@([A-Z]+)@/g, (_, name: string) => values[name] ?? ''),
  )
  return { config, port }
}

async function listening(name: string, port: number, started: Started): Promise<Arm> {
  await untilListening(port, started)
  return { name, url: `http://127.0.0.1:${port}/`, started }
}

async function startNginx(place: Place): Promise<Arm> {
  const { config, port } = await written({ file: 'nginx.conf', server: (each) => `server 127.0.0.1:${each} max_conns=${SLOTS};` }, place)
  const args = ['-p', place.folder, '-c', config, '-e', 'stderr']
  return listening('nginx', port, startPinned(place.cores, findProgram('nginx') as string, args))
}

async function startHaproxy(place: Place): Promise<Arm> {
  const server = (each: number): string => `server s${each} 127.0.0.1:${each} maxconn ${SLOTS}`
  const { config, port } = await written({ file: 'haproxy.cfg', server }, place)
  return listening('haproxy', port, startPinned(place.cores, findProgram('haproxy') as string, ['-db', '-f', config]))
}

async function startGateway(place: Place, queueing: 'adaptive' | 'fifo'): Promise<Arm> {
  const [port, admin] = [await freePort(), await freePort()]
  const config = path.join(place.folder, `overload-${queueing}.yaml`)
  const servers = place.ports.map((each) => `http://127.0.0.1:${each}`).join(', ')
  writeFileSync(
    config,
    `listeners: [ "127.0.0.1:${port}" ]
admin: { address: "127.0.0.1:${admin}" }
store: { engine: memory }
pools:
  api: { servers: [ ${servers} ], maxInFlight: ${SLOTS}, wait: 2s, maxWaiting: 10000, queueing: ${queueing} }
routes: [ { match: "/*" } ]
`,
  )
  const started = startPinned(place.cores, process.execPath, [path.join(ROOT, 'src', 'main.ts'), 'run', config])
  return listening(queueing === 'adaptive' ? 'spillway' : 'spillway, fifo', port, started)
}

export const OVERLOAD_ARMS: Readonly<Record<string, { readonly program?: string; start(place: Place): Promise<Arm> }>> = {
  nginx: { program: 'nginx', start: startNginx },
  haproxy: { program: 'haproxy', start: startHaproxy },
  spillway: { start: (place) => startGateway(place, 'adaptive') },
  'spillway, fifo': { start: (place) => startGateway(place, 'fifo') },
}
