/** What the machine gives a gateway: descriptors, memory, the kernel's line of new connections, the Node that runs it. */
import { readFile } from 'node:fs/promises'
import { totalmem } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import type { Config, PoolConfig } from '../../config/config.ts'
import type { Bytes } from '../../lib/units.ts'
import { descriptorLimit } from '../../telemetry/process-metrics.ts'
import { type Finding, sizeText } from './finding.ts'

/** Standard streams, the store's files, the admin address with its connections, checks under way. */
const OWN_DESCRIPTORS = 160
/** A gateway without bodies: two heaps, the store's cache, buffers of sockets. */
const BASE_BYTES: Bytes = 192 * 1024 * 1024
/** What `src/net/listener.ts` asks for. */
const BACKLOG = 4096

/** `pid`: of the gateway that runs here, whose limits count then. */
export async function checkMachine(config: Config, pid: number | undefined): Promise<readonly Finding[]> {
  const [memory, somaxconn] = await Promise.all([memoryLimit(pid ?? 'self'), readNumber('/proc/sys/net/core/somaxconn')])
  return [
    checkDescriptors(config, descriptorLimit(pid ?? 'self')),
    checkMemory(config.limits.buffered, memory),
    checkBacklog(somaxconn),
    checkNode(process.versions.node),
  ]
}

/** Descriptors when all is in use at once. A tunnel has a client of its own, so tunnels never are more than clients. */
export function descriptorsWanted({ limits, pools }: Pick<Config, 'limits' | 'pools'>): number {
  const serversOf = (pool: PoolConfig): number => pool.servers.length + (pool.registration?.max ?? 0)
  const requests = pools.reduce((sum, pool) => sum + serversOf(pool) * pool.maxInFlight, 0)
  const tunnels = pools.reduce((sum, pool) => sum + serversOf(pool) * pool.maxTunnels, 0)
  return limits.connections + requests + Math.min(tunnels, limits.connections) + OWN_DESCRIPTORS
}

export function checkDescriptors(config: Pick<Config, 'limits' | 'pools'>, limit: number): Finding {
  const check = 'descriptors'
  if (Number.isNaN(limit)) return { check, level: 'note', says: 'unknown: this system does not tell how many files a process may open' }
  const wanted = descriptorsWanted(config)
  const clients = config.limits.connections
  const todo = 'raise the limit (LimitNOFILE= in a systemd unit, ulimit -n in a shell), or lower limits.connections'
  if (limit <= clients + OWN_DESCRIPTORS) {
    const says = `${limit} may be open, and limits.connections alone is ${clients}: the system refuses before Spillway can`
    return { check, level: 'warn', says, todo }
  }
  if (limit < wanted)
    return { check, level: 'note', says: `${limit} may be open; ${wanted} are wanted when all limits are used at once`, todo }
  return { check, level: 'ok', says: `${limit} may be open, at most ${wanted} are wanted` }
}

/** Undefined: nobody says. */
export function checkMemory(buffered: Bytes, limit: Bytes | undefined): Finding {
  const check = 'memory'
  if (limit === undefined) return { check, level: 'note', says: 'unknown: this system does not tell a limit' }
  const wanted = buffered + BASE_BYTES
  const says = `${sizeText(limit)} may be used; limits.buffered is ${sizeText(buffered)}, the gateway itself wants ${sizeText(BASE_BYTES)}`
  if (limit < wanted) {
    return {
      check,
      level: 'warn',
      says: `${says}: it can be killed for want of memory`,
      todo: 'lower limits.buffered, or give it more memory',
    }
  }
  return { check, level: 'ok', says }
}

export function checkBacklog(somaxconn: number | undefined): Finding {
  const check = 'kernel'
  if (somaxconn === undefined) return { check, level: 'note', says: 'unknown: net.core.somaxconn cannot be read' }
  if (somaxconn >= BACKLOG) return { check, level: 'ok', says: `net.core.somaxconn is ${somaxconn}` }
  const says = `net.core.somaxconn is ${somaxconn}: of a burst of new connections, those beyond it have to try again`
  return { check, level: 'note', says, todo: `sysctl -w net.core.somaxconn=${BACKLOG}` }
}

const NODE_WANTED: readonly [major: number, minor: number] = [24, 12]

export function checkNode(version: string): Finding {
  const check = 'node'
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const isOld = major < NODE_WANTED[0] || (major === NODE_WANTED[0] && minor < NODE_WANTED[1])
  if (!isOld) return { check, level: 'ok', says: version }
  return { check, level: 'fail', says: `${version} is older than ${NODE_WANTED.join('.')}`, todo: 'use the Node that the package brings' }
}

/** The smallest of what the control groups above the process allow, and the machine's memory. */
async function memoryLimit(pid: number | 'self'): Promise<Bytes | undefined> {
  const groups = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '')
  const limits: Bytes[] = [totalmem()]
  for (const line of groups.split('\n')) {
    const [, controllers, path = '/'] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
    if (controllers === '') limits.push(...(await limitsAbove('/sys/fs/cgroup', path, 'memory.max')))
    else if (controllers?.split(',').includes('memory') === true) {
      limits.push(...(await limitsAbove('/sys/fs/cgroup/memory', path, 'memory.limit_in_bytes')))
    }
  }
  const least = Math.min(...limits)
  return Number.isFinite(least) && least > 0 ? least : undefined
}

/** Inside of a container the path may not be there: then the root is the container's own group. */
async function limitsAbove(root: string, path: string, file: string): Promise<readonly Bytes[]> {
  const steps = path.split('/').filter((step) => step !== '')
  const folders = [root, ...steps.map((_, i) => join(root, ...steps.slice(0, i + 1)))]
  const read = await Promise.all(folders.map((folder) => readNumber(join(folder, file))))
  return read.filter((value) => value !== undefined)
}

async function readNumber(path: string): Promise<number | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return /^\d+\s*$/.test(text) ? Number(text) : undefined
}
