/** Sizes as people write them: `512B`, `64KiB`, `1MiB`, `10GiB`. One number, one unit. */
import type { Bytes } from './units.ts'

const UNIT_BYTES: Readonly<Record<string, Bytes>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }

/** Undefined: not a size. */
export function parseSize(text: string): Bytes | undefined {
  const match = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text)
  if (match === null) return undefined
  const bytes = Number(match[1]) * (UNIT_BYTES[match[2] as string] as Bytes)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
