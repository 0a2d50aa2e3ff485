/**
 * What the algorithms know of a server. Candidates are those that may be used now (up, with a free slot, not excluded); an algorithm chooses
 * among them and never looks further.
 */
import type { PeakEwma } from './peak-ewma.ts'

export interface Candidate {
  readonly name: string
  /** Its share, in proportion to those of the others; less than configured while it starts slowly. More than 0. */
  readonly weight: number
  readonly inFlight: number
  /** How long it takes until it begins to answer. */
  readonly latency: PeakEwma
  /** Of its name. */
  readonly hash: number
  /** Kept by the algorithms that give turns: smooth weighted round-robin's current weight. */
  credit: number
}
