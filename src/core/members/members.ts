/** Who is a member of a pool, as one value that is swapped: what has to change where the members of now become those that are wanted. Pure. */

/** Who says that it is a member. */
export type Source = 'file' | 'api' | 'dns' | 'registered'

/** What an operator wants of it. `drain`: nothing new. `maint`: nor is it checked. */
export type Duty = 'ready' | 'drain' | 'maint'

export interface Member {
  /** Unique in its pool; the same name is the same address. */
  readonly name: string
  readonly host: string
  readonly port: number
  readonly weight: number
  /** Used only while no other one can be. */
  readonly backup?: true
  /** It is asked over TLS, and its certificate is for that name. */
  readonly tls?: { readonly name: string }
  readonly source: Source
  readonly duty: Duty
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
