/** Who is a member of a pool, as one value that is swapped: who is wanted, and what has to change where others are members now. Pure. */
import { hostPortText } from '../../lib/host-port.ts'
import type { ServerChange } from './changes.ts'

/** Who says that it is a member. `dns`: it is one of the addresses of a host name. */
export type Source = 'file' | 'api' | 'dns' | 'registered'

/** What an operator wants of it. `drain`: nothing new. `maint`: nor is it checked. */
export type Duty = 'ready' | 'drain' | 'maint'

export interface Declared {
  /** Unique in its pool; the same name is the same address: `10.0.0.1:3000`. */
  readonly name: string
  readonly host: string
  readonly port: number
  readonly weight: number
  /** Of which the host is an address. */
  readonly hostName?: string
}

export interface Membership {
  readonly source: Source
  readonly duty: Duty
}

export interface WantedParts {
  /** By the names of servers, and by those of the addresses that they stand for. */
  readonly changes: ReadonlyMap<string, ServerChange>
  /** Undefined: it is no name that is looked up. Empty: nobody knows an address yet. */
  readonly addressesOf: (host: string) => readonly string[] | undefined
}

/** The members that follow from what was declared, what operators changed, and what host names stand for. */
export function wantedMembers<S extends Declared>(
  declared: readonly (S & { readonly source: Source })[],
  { changes, addressesOf }: WantedParts,
): readonly (S & Membership)[] {
  const wanted = new Map<string, S & Membership>()
  const add = (server: S & Membership): void => {
    const changed = withChange(server, changes.get(server.name))
    // Who stands there by itself counts more than an address of somebody, and who is there already more than one that says so of itself.
    const givesWay = server.source === 'dns' || server.source === 'registered'
    if (changed !== undefined && !(givesWay && wanted.has(changed.name))) wanted.set(changed.name, changed)
  }
  for (const server of declared) {
    const addresses = addressesOf(server.host)
    if (addresses === undefined) add({ ...server, duty: 'ready' })
    else {
      const whole = withChange({ ...server, duty: 'ready' }, changes.get(server.name))
      if (whole === undefined) continue
      for (const host of addresses)
        add({ ...whole, name: hostPortText({ host, port: server.port }), host, hostName: server.host, source: 'dns' } as S & Membership)
    }
  }
  return [...wanted.values()]
}

function withChange<S extends Declared>(server: S & Membership, change: ServerChange | undefined): (S & Membership) | undefined {
  if (change === undefined) return server
  if (change.removed === true) return undefined
  return { ...server, weight: change.weight ?? server.weight, duty: change.duty ?? server.duty }
}

export interface MemberDifference<T, M> {
  readonly added: readonly M[]
  readonly removed: readonly T[]
  /** In the order in which they are wanted. */
  readonly kept: readonly (readonly [server: T, wanted: M])[]
}

export function memberDifference<T extends { readonly name: string }, M extends { readonly name: string }>(
  now: readonly T[],
  wanted: readonly M[],
): MemberDifference<T, M> {
  const before = new Map(now.map((server) => [server.name, server]))
  const added: M[] = []
  const kept: [T, M][] = []
  for (const member of wanted) {
    const server = before.get(member.name)
    if (server === undefined) added.push(member)
    else kept.push([server, member])
    before.delete(member.name)
  }
  return { added, removed: [...before.values()], kept }
}
