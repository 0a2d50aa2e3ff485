/**
 * Who is used where no server of a pool is up, for what has nowhere else to go. Those that ask to be drained, all of them together, serve all the same: they
 * are well, and say only that they would rather not. Failing these, those that are thought to be bad but could be reached: checks that fail on all servers at
 * once say more about the checks, or about us, than about the servers.
 */

export type Hope = 'drains' | 'suspect'

export interface Hoped {
  readonly state: 'unknown' | 'up' | 'down' | 'ejected' | 'draining'
  /** It could not be reached, the last time. */
  readonly refused: boolean
  /** It is well, and nobody but itself wants that it gets nothing new. */
  readonly asksToDrain: boolean
}

/** Undefined: there is none, of servers of which none is up. */
export function hopeAmong(servers: readonly Hoped[]): Hope | undefined {
  if (servers.some(({ asksToDrain }) => asksToDrain)) return 'drains'
  return servers.some((server) => isHope(server, 'suspect')) ? 'suspect' : undefined
}

export function isHope({ state, refused, asksToDrain }: Hoped, hope: Hope | undefined): boolean {
  if (hope === undefined) return false
  return hope === 'drains' ? asksToDrain : state === 'ejected' || (state === 'down' && !refused)
}

/** Of those that somebody wants. */
export function mostAreDown(servers: readonly Pick<Hoped, 'state'>[]): boolean {
  const wanted = servers.filter(({ state }) => state !== 'draining')
  return wanted.filter(({ state }) => state === 'down').length * 2 > wanted.length
}
