/**
 * Job ids: a sequence number that grows with every acceptance, and its text form, fixed-width Crockford base32 in lower case,
 * so that numbers, texts and acceptance are in one and the same order. The number is safe for JavaScript until the year 2093.
 */
import type { EpochMillis, Millis } from '../../lib/units.ts'

/** 2024-01-01T00:00:00Z: ids count from here. */
const EPOCH: EpochMillis = 1_704_067_200_000
/** So many ids share a millisecond before the sequence runs ahead of the clock. */
const PER_MILLISECOND = 4096
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
/** 11 digits of 5 bits hold the 53 bits of a safe integer. */
const WIDTH = 11

const VALUES: ReadonlyMap<string, number> = new Map(Array.from(ALPHABET, (digit, value) => [digit, value]))

/** The next number after `last`: of the time when the clock allows, and always greater, also when the clock went back. */
export function nextSequence(last: number, now: EpochMillis): number {
  return Math.max(last + 1, Math.floor(now - EPOCH) * PER_MILLISECOND)
}

/** How many numbers lie between acceptances that are so far apart, as long as the clock did not run behind. */
export function sequencesIn(span: Millis): number {
  return span * PER_MILLISECOND
}

/** The first number that can have been given at that time, as long as the clock did not run behind. */
export function firstSequenceAt(time: EpochMillis): number {
  return Math.max(0, Math.floor(time - EPOCH) * PER_MILLISECOND)
}

export function formatJobId(sequence: number): string {
  let rest = sequence
  let text = ''
  for (let digit = 0; digit < WIDTH; digit++) {
    text = ALPHABET.charAt(rest % 32) + text
    rest = Math.floor(rest / 32)
  }
  return text
}

/** undefined: not the text of any id. Only the exact form that `formatJobId` writes is accepted. */
export function parseJobId(text: string): number | undefined {
  if (text.length !== WIDTH) return undefined
  let sequence = 0
  for (const digit of text) {
    const value = VALUES.get(digit)
    if (value === undefined) return undefined
    sequence = sequence * 32 + value
  }
  return Number.isSafeInteger(sequence) && sequence > 0 ? sequence : undefined
}
