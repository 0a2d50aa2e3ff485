/** Servers that register themselves: who may, for how long, and who has not been heard of for too long. Values in, values out. Pure. */
import { isMapping } from '../../lib/mapping.ts'
import type { Millis, MonotonicMillis } from '../../lib/units.ts'
import { isWeight } from './changes.ts'

export interface RegistrationRules {
  /** Servers that are registered at once. */
  readonly max: number
  readonly ttlMinMs: Millis
  readonly ttlMaxMs: Millis
}

/** What a server says of itself, again and again. */
export interface AskedRegistration {
  readonly weight: number
  /** It is a member for so long, unless it is heard of again. */
  readonly ttlMs: Millis
}

export interface Registration extends AskedRegistration {
  readonly until: MonotonicMillis
}

type Known = ReadonlyMap<string, Registration>

/** `new`: it was not one. `changed`: another weight. `again`: it lives, and that is all. */
export type Registering = 'new' | 'changed' | 'again' | 'too-many'

/** What becomes of it if that server registers now. Who is registered already never finds the pool full. */
export function registering(
  known: Known,
  name: string,
  { asked, max }: { readonly asked: AskedRegistration; readonly max: number },
): Registering {
  const before = known.get(name)
  if (before === undefined) return known.size >= max ? 'too-many' : 'new'
  return before.weight === asked.weight ? 'again' : 'changed'
}

export function isTtlAllowed(ttlMs: Millis, { ttlMinMs, ttlMaxMs }: Pick<RegistrationRules, 'ttlMinMs' | 'ttlMaxMs'>): boolean {
  return ttlMs >= ttlMinMs && ttlMs <= ttlMaxMs
}

/** Not heard of for its whole time. */
export function silent(known: Known, now: MonotonicMillis): readonly string[] {
  return [...known].flatMap(([name, { until }]) => (until <= now ? [name] : []))
}

/** When the next one would be; undefined: nobody is registered. */
export function nextEnd(all: Iterable<Known>): MonotonicMillis | undefined {
  let next = Number.POSITIVE_INFINITY
  for (const known of all) for (const { until } of known.values()) next = Math.min(next, until)
  return next === Number.POSITIVE_INFINITY ? undefined : next
}

/** As it was kept; undefined: it cannot be understood. */
export function readRegistration(text: string): AskedRegistration | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (!isMapping(value)) return undefined
    const { weight, ttlMs } = value
    return isWeight(weight) && typeof ttlMs === 'number' && Number.isSafeInteger(ttlMs) && ttlMs > 0 ? { weight, ttlMs } : undefined
  } catch {
    return undefined
  }
}
