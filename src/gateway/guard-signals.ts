/** What this process has to do, as shares of what it may have: memory against its limit, descriptors against theirs. */
import { statSync } from 'node:fs'
import { totalmem } from 'node:os'
import process from 'node:process'
import { getHeapStatistics } from 'node:v8'
import { descriptorLimit, residentBytes } from '../telemetry/process-metrics.ts'

/** The resident set against the limit of the container, or the machine's memory; the heap against its own limit: whichever is nearer. */
export function memoryShare(): number {
  const { used_heap_size: used, heap_size_limit: max } = getHeapStatistics()
  const resident = residentBytes() / memoryLimit()
  return Number.isNaN(resident) ? used / max : Math.max(resident, used / max)
}

function memoryLimit(): number {
  const constrained = process.constrainedMemory()
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem()
}

let descriptorsMax: number | undefined

/** NaN where the system does not tell it cheaply: Linux does since 6.2. */
export function descriptorShare(): number {
  descriptorsMax ??= descriptorLimit()
  try {
    return (statSync('/proc/self/fd').size || Number.NaN) / descriptorsMax
  } catch {
    return Number.NaN
  }
}
