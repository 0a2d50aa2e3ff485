/** Another process takes over from this one: how that is asked for. Who carries it out is the command that runs the gateway. */

export type UpgradeOutcome =
  /** It has read its configuration, and gets the sockets and the store as soon as the jobs that run have ended. */
  | { readonly kind: 'begun'; readonly pid: number }
  /** Nothing has changed. */
  | { readonly kind: 'refused'; readonly reason: string }

export interface Upgrading {
  request(): Promise<UpgradeOutcome>
  /** The process that is about to take over. */
  readonly successor: number | undefined
}

/** Of a gateway that is part of another program. */
export const NO_UPGRADE: Upgrading = {
  request: () => Promise.resolve({ kind: 'refused', reason: 'this gateway is part of another program, which has to do that' }),
  successor: undefined,
}
