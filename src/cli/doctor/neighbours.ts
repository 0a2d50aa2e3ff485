/**
 * What stands around a gateway that does not run (or runs with another file): may it have its addresses, do the servers answer.
 * Servers are asked as the gateway's own checks do.
 */
import { createServer } from 'node:net'
import type { Config, HostPort, PoolConfig } from '../../config/config.ts'
import { hostPortText } from '../../lib/host-port.ts'
import { probe } from '../../net/probe.ts'
import { checkTarget } from '../../pools/checks.ts'
import { systemClock, systemNetwork } from '../../ports/system.ts'
import type { Finding } from './finding.ts'

/** More are not asked: this is a look, not a scan. */
const SERVERS_MAX = 64

export async function checkAddresses({ listeners, admin }: Config): Promise<readonly Finding[]> {
  const wanted = [...listeners.map(({ address }) => ({ key: 'listeners', address })), { key: 'admin.address', address: admin.address }]
  return await Promise.all(wanted.map(({ key, address }) => checkAddress(key, address)))
}

async function checkAddress(key: string, { host, port }: HostPort): Promise<Finding> {
  const check = 'address'
  const name = hostPortText({ host, port })
  const code = await listenOnce({ host, port })
  switch (code) {
    case undefined:
      return { check, level: 'ok', says: `${name} is free` }
    case 'EADDRINUSE':
      return { check, level: 'fail', says: `${name} is in use by another process`, todo: `change ${key}, or stop that process` }
    case 'EACCES':
      return { check, level: 'fail', says: `${name} needs more rights to listen on`, todo: `change ${key} to a port above 1023` }
    default:
      return { check, level: 'fail', says: `${name} cannot be listened on (${code})`, todo: `change ${key} to an address of this machine` }
  }
}

function listenOnce({ host, port }: HostPort): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port }, () => server.close(() => resolve(undefined)))
  })
}

export async function checkServers({ pools }: Config): Promise<readonly Finding[]> {
  let left = SERVERS_MAX
  const findings: Promise<Finding>[] = []
  for (const pool of pools) {
    const asked = pool.servers.slice(0, left)
    left -= asked.length
    if (asked.length > 0) findings.push(checkPool({ ...pool, servers: asked }))
  }
  return await Promise.all(findings)
}

async function checkPool({ name, servers, health }: PoolConfig): Promise<Finding> {
  const check = `pool ${name}`
  const wrong: string[] = []
  await Promise.all(
    servers.map(async (each) => {
      const { name: server } = each
      const result = await probe(checkTarget(each, health), { clock: systemClock, network: systemNetwork })
      if (result.kind === 'failed') wrong.push(`${server} ${result.reason}`)
      else if (result.kind === 'unasked') wrong.push(`${server} could not be asked (${result.errno})`)
    }),
  )
  if (wrong.length === 0) return { check, level: 'ok', says: `all ${servers.length} servers pass the check` }
  const todo = 'start the servers, or correct their URLs and health.path'
  const says = `${wrong.length} of ${servers.length} servers fail the check: ${wrong.sort().join(', ')}`
  return { check, level: wrong.length === servers.length ? 'fail' : 'warn', says, todo }
}
