/**
 * What a server says of itself in the head of any answer: `Spillway-Load`, how much of what it can do it has to do, and `Spillway-Drain`, that it
 * wants no new work. A value that is not exactly one of the forms is garbled, and says nothing: a server that is mistaken changes nothing.
 */
import { parseDuration } from '../../lib/duration.ts'
import type { Millis } from '../../lib/units.ts'

/** `now`: as long as its checks say so. A number: for so long. */
export type DrainReport = 'now' | 'off' | Millis

export interface ServerReports {
  readonly load?: number
  readonly drain?: DrainReport
  readonly garbled?: readonly GarbledReport[]
}

export interface GarbledReport {
  readonly field: 'Spillway-Load' | 'Spillway-Drain'
  readonly value: string
}

/** Ten times what it can do. Who says more means something else, mostly percent. */
export const LOAD_MAX = 10

/** Undefined: neither of the two is there. `headers`: name, value, name, value … */
export function readReports(headers: readonly string[]): ServerReports | undefined {
  const load = only(headers, 'spillway-load')
  const drain = only(headers, 'spillway-drain')
  if (load === undefined && drain === undefined) return undefined
  const readLoad = load === undefined ? undefined : parseLoad(load)
  const readDrain = drain === undefined ? undefined : parseDrain(drain)
  const garbled: GarbledReport[] = []
  if (load !== undefined && readLoad === undefined) garbled.push({ field: 'Spillway-Load', value: load })
  if (drain !== undefined && readDrain === undefined) garbled.push({ field: 'Spillway-Drain', value: drain })
  return {
    ...(readLoad !== undefined && { load: readLoad }),
    ...(readDrain !== undefined && { drain: readDrain }),
    ...(garbled.length > 0 && { garbled }),
  }
}

/** Several are one that says several things: that is none of the forms. */
function only(headers: readonly string[], lowerName: string): string | undefined {
  let found: string | undefined
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length !== lowerName.length || name.toLowerCase() !== lowerName) continue
    found = found === undefined ? (headers[i + 1] as string) : `${found}, ${headers[i + 1]}`
  }
  return found
}

export function parseLoad(text: string): number | undefined {
  if (!/^\d{1,2}(?:\.\d{1,15})?$/.test(text)) return undefined
  const load = Number(text)
  return load <= LOAD_MAX ? load : undefined
}

export function parseDrain(text: string): DrainReport | undefined {
  const word = text.toLowerCase()
  return word === 'now' || word === 'off' ? word : parseDuration(word) || undefined
}
