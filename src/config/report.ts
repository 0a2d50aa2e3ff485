/** How the checks between keys tell what they find, and what they know about the file. */
import { isAbsolute, join } from 'node:path'
import type { Path, Problem } from './problem.ts'
import { nearest } from '../lib/nearest.ts'

export interface Report {
  /** `needs`: other places that the conclusion rests on; where one of them is wrong already, nothing is reported. */
  error(problem: Problem, needs?: readonly Path[]): void
  warn(problem: Problem): void
}

export interface ResolveOptions {
  readonly file?: string
  /** Absolute; relative paths start here. */
  readonly folder: string
  /** All names that stand in the file, also of pools and queues with something wrong in them. */
  readonly poolNames: readonly string[]
  readonly queueNames: readonly string[]
  readonly report: Report
}

/** Reports a name that points nowhere. */
export function checkName(
  name: string,
  known: readonly string[],
  problem: { readonly path: Path; readonly what: string; readonly hint?: string },
  report: Report,
): void {
  if (known.includes(name)) return
  const others = known.length === 0 ? '' : `; there ${known.length === 1 ? 'is' : 'are'} ${known.join(', ')}`
  report.error({
    path: problem.path,
    message: `there is no ${problem.what} "${name}"${others}${problem.hint ?? ''}`,
    suggestion: nearest(name, known),
  })
}

export function absolute(folder: string, path: string): string {
  return isAbsolute(path) ? path : join(folder, path)
}
