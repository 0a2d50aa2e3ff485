/** What a check found: how bad it is, what it is, and what to do about it. */
import type { Bytes, Millis } from '../../lib/units.ts'

/** `note`: worth knowing. `warn`: will hurt some day. `fail`: hurts, or will at the start. */
export type Level = 'ok' | 'note' | 'warn' | 'fail'

export interface Finding {
  /** What was looked at: `sync`, `queue reports`. */
  readonly check: string
  readonly level: Level
  readonly says: string
  readonly todo?: string
}

const WORST_FIRST: readonly Level[] = ['fail', 'warn', 'note', 'ok']

/** Worst first; what is equally bad stays in its order. */
export function findingsText(findings: readonly Finding[]): string {
  const sorted = [...findings].sort((a, b) => WORST_FIRST.indexOf(a.level) - WORST_FIRST.indexOf(b.level))
  const width = Math.max(0, ...findings.map(({ check }) => check.length))
  const indent = ' '.repeat(6 + width + 2)
  const lines = sorted.flatMap(({ check, level, says, todo }) => [
    `${level.padEnd(4)}  ${check.padEnd(width)}  ${says}`,
    ...(todo === undefined ? [] : [`${indent}-> ${todo}`]),
  ])
  return `${lines.join('\n')}\n\n${summaryText(findings)}\n`
}

function summaryText(findings: readonly Finding[]): string {
  const counts = WORST_FIRST.map((level) => [level, findings.filter((finding) => finding.level === level).length] as const)
  return counts
    .filter(([, count]) => count > 0)
    .map(([level, count]) => `${count} ${level}`)
    .join(', ')
}

/** `512 B`, `1.5 GiB`. */
export function sizeText(bytes: Bytes): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : Math.round(value * 10) / 10} ${units[unit] as string}`
}

/** As exact as a disk's latency wants it: `0.04 ms`, `2.1 ms`, `120 ms`. */
export function latencyText(ms: Millis): string {
  return `${ms >= 10 ? Math.round(ms) : Number(ms.toPrecision(2))} ms`
}
