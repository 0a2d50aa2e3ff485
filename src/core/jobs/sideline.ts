/**
 * Fresh jobs go before an old backlog, which gets only a share of the hand-outs while both wait: whoever asks now is served now, and the
 * backlog is still worked off. The share is kept by a credit that every hand-out adds to and every old job uses up.
 */

export interface Sideline {
  /** Of the hand-outs, more than 0 and at most 1. */
  readonly share: number
}

/** Shares such as a fifth cannot be added up exactly. */
const ROUNDING = 1e-9

/** Is it the turn of an old job? */
export function isOldTurn(credit: number): boolean {
  return credit >= 1 - ROUNDING
}

/** After a hand-out. What was not used because there was no old job is not saved up: old jobs never come in a burst. */
export function creditAfter(credit: number, { share }: Sideline, old: boolean): number {
  return Math.max(0, Math.min(1 + share, credit + share - (old ? 1 : 0)))
}
