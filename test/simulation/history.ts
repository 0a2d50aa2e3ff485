/**
 * What happened in a simulation, line by line, for people and for comparing two runs; and what must not have happened: violations,
 * each with the name of the promise that it breaks.
 */
import { createHash } from 'node:crypto'

export interface Violation {
  /** The promise that is broken. */
  readonly name: string
  readonly detail: string
  readonly atMs: number
}

const VIOLATIONS_MAX = 20

export class History {
  readonly violations: Violation[] = []
  readonly #lines: string[] = []
  readonly #now: () => number
  #firstViolation: number | undefined

  constructor(now: () => number) {
    this.#now = now
  }

  log(line: string): void {
    this.#lines.push(`${this.#now().toFixed(3).padStart(12)}  ${line}`)
  }

  violated(name: string, detail: string): void {
    this.#firstViolation ??= this.#lines.length
    this.log(`VIOLATED ${name}: ${detail}`)
    if (this.violations.length < VIOLATIONS_MAX) this.violations.push({ name, detail, atMs: this.#now() })
  }

  /** The rule holds, or it is noted that it does not. */
  check(holds: boolean, name: string, detail: () => string): void {
    if (!holds) this.violated(name, detail())
  }

  get length(): number {
    return this.#lines.length
  }

  last(count: number): readonly string[] {
    return this.#lines.slice(-count)
  }

  /** The lines up to the first violation, that one included. */
  before(count: number): readonly string[] {
    const end = (this.#firstViolation ?? this.#lines.length - 1) + 1
    return this.#lines.slice(Math.max(0, end - count), end)
  }

  hash(): string {
    return createHash('sha256').update(this.#lines.join('\n')).digest('hex')
  }
}
