/**
 * What operators have changed about one server of a pool while the gateway runs, beside what the file says. A change that says nothing any more is
 * none: then the file holds. Pure.
 */
import { isMapping } from '../../lib/mapping.ts'
import type { EpochMillis } from '../../lib/units.ts'
import type { Duty } from './members.ts'

export interface ServerChange {
  /** It is not in the file. */
  readonly added?: true
  /** It is in the file, and not in the pool. */
  readonly removed?: true
  /** Instead of that of the file. */
  readonly weight?: number
  readonly duty?: Exclude<Duty, 'ready'>
  readonly since: EpochMillis
}

export const WEIGHT_MAX = 1000

/** What is asked for. Undefined: nothing about it. */
export interface AskedOfServer {
  /** `file`: as it says there; 1 for one that is not in it. */
  readonly weight?: number | 'file'
  readonly duty?: Duty
}

interface Known {
  readonly change: ServerChange | undefined
  readonly inFile: boolean
  readonly now: EpochMillis
}

/** It is a member from now on, just so: what is not asked for is as in the file. */
export function placed(asked: AskedOfServer, { change, inFile, now }: Known): ServerChange | undefined {
  return settled(
    { weight: 'file', duty: 'ready', ...asked },
    { change: inFile ? undefined : { added: true, since: now }, inFile, now },
    change,
  )
}

/** A member stays one; what is not asked for stays as it is. */
export function altered(asked: AskedOfServer, known: Known): ServerChange | undefined {
  return settled(asked, known, known.change)
}

/** It is no member any more. */
export function takenOut({ change, inFile, now }: Known): ServerChange | undefined {
  if (!inFile) return undefined
  return change?.removed === true ? change : { removed: true, since: now }
}

function settled({ weight, duty }: AskedOfServer, { change, now }: Known, before: ServerChange | undefined): ServerChange | undefined {
  const weightNow = weight === undefined ? change?.weight : weight === 'file' ? undefined : weight
  const dutyNow = duty === undefined ? change?.duty : duty === 'ready' ? undefined : duty
  const next = {
    ...(change?.added === true && { added: true as const }),
    ...(weightNow !== undefined && { weight: weightNow }),
    ...(dutyNow !== undefined && { duty: dutyNow }),
  }
  if (Object.keys(next).length === 0) return undefined
  return before !== undefined && sameChange({ ...next, since: 0 }, before) ? before : { ...next, since: now }
}

export function sameChange(a: ServerChange | undefined, b: ServerChange | undefined): boolean {
  return a?.added === b?.added && a?.removed === b?.removed && a?.weight === b?.weight && a?.duty === b?.duty
}

/** As it was kept; undefined: it cannot be understood. */
export function readChange(text: string): ServerChange | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (!isMapping(value)) return undefined
    const { added, removed, weight, duty, since } = value
    if (typeof since !== 'number') return undefined
    if (weight !== undefined && !isWeight(weight)) return undefined
    if (duty !== undefined && duty !== 'drain' && duty !== 'maint') return undefined
    return {
      ...(added === true && { added }),
      ...(removed === true && { removed }),
      ...(weight !== undefined && { weight }),
      ...(duty !== undefined && { duty }),
      since,
    }
  } catch {
    return undefined
  }
}

export function isWeight(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1 && (value as number) <= WEIGHT_MAX
}
