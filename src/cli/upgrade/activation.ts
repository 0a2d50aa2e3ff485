/**
 * Sockets that a supervisor has bound: systemd's socket activation (sd_listen_fds(3)). They are told apart by the address that they are bound
 * to, so a listener whose address stands in the `.socket` unit needs nothing else.
 */
import { readFileSync, readlinkSync } from 'node:fs'
import { hostPortText } from '../../lib/host-port.ts'
import type { BoundSocket } from './sockets.ts'

const FIRST_FD = 3

export type Activated = { readonly sockets: readonly BoundSocket[] } | { readonly wrong: string }

/** None where there are none, or where they are for another process. */
export function activatedSockets(environment: Readonly<Record<string, string | undefined>>, pid: number): Activated {
  const { LISTEN_FDS: count, LISTEN_PID: forPid } = environment
  if (count === undefined || Number(forPid) !== pid) return { sockets: [] }
  if (!/^[1-9]\d{0,3}$/.test(count)) return { wrong: `LISTEN_FDS is a number of sockets, not ${JSON.stringify(count)}` }
  const sockets: BoundSocket[] = []
  for (let fd = FIRST_FD; fd < FIRST_FD + Number(count); fd++) {
    const address = addressOf(fd)
    if (address === undefined) return { wrong: `file descriptor ${fd} (LISTEN_FDS=${count}) is no TCP socket that listens` }
    sockets.push({ address, fd })
  }
  return { sockets }
}

/** From the kernel's tables, because Node can only ask by beginning to accept. */
function addressOf(fd: number): string | undefined {
  try {
    const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1]
    if (inode === undefined) return undefined
    return (
      boundAddress(readFileSync('/proc/self/net/tcp', 'latin1'), inode) ??
      boundAddress(readFileSync('/proc/self/net/tcp6', 'latin1'), inode)
    )
  } catch {
    return undefined
  }
}

const LISTENS = '0A'

/** `table`: proc_net_tcp(5). Of the socket with this inode, where it listens. */
export function boundAddress(table: string, inode: string): string | undefined {
  for (const line of table.split('\n')) {
    const [, local = '', , state, , , , , , ownInode] = line.trim().split(/\s+/)
    if (ownInode !== inode || state !== LISTENS) continue
    const [address = '', port = ''] = local.split(':')
    return hostPortText({ host: hostText(address), port: Number.parseInt(port, 16) })
  }
  return undefined
}

/** Words of four bytes, each the other way round (on all machines that Node has a release for). */
function hostText(hex: string): string {
  const bytes = (hex.match(/.{8}/g) ?? []).flatMap((word) => (word.match(/../g) ?? []).toReversed())
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => `${bytes[2 * i]}${bytes[2 * i + 1]}`)
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}
