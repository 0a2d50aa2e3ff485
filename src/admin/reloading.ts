/**
 * Reading the configuration again while the gateway runs: one at a time, all of it or nothing, and what became of the last one. Whatever is
 * told of a refused one is told without the values that stand in the file.
 */
import type { Config } from '../config/config.ts'
import type { LoadResult } from '../config/load.ts'
import { withoutValues } from '../config/problem.ts'
import type { EpochMillis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import type { ConfigStatus } from './status.ts'

export type ReloadOutcome =
  | { readonly kind: 'applied'; readonly readAt: EpochMillis; readonly needsRestart: readonly string[] }
  /** Nothing has changed. */
  | { readonly kind: 'refused'; readonly at: EpochMillis; readonly problems: readonly string[] }

/** Keys that hold only after a restart, or what is wrong. */
export type Applied = { readonly needsRestart: readonly string[] } | { readonly wrong: string }

export interface ReloadingParts {
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** As the user named it. Absent: there is none. */
  readonly file: string | undefined
  /** Reads and validates it as it is now. */
  readonly read: (() => Promise<LoadResult>) | undefined
  /** All of it or nothing. */
  readonly apply: (config: Config) => Promise<Applied>
}

export class Reloading {
  readonly #parts: ReloadingParts
  #status: ConfigStatus
  #current: Promise<ReloadOutcome> | undefined
  #next: Promise<ReloadOutcome> | undefined

  constructor(parts: ReloadingParts) {
    const { file, clock } = parts
    this.#parts = parts
    this.#status = { ...(file !== undefined && { file }), readAt: clock.now(), needsRestart: [] }
  }

  get status(): ConfigStatus {
    return this.#status
  }

  /** Who asks while another one is under way may have changed the file since it was read: it is read once more, for all who ask meanwhile. */
  reload(): Promise<ReloadOutcome> {
    if (this.#current === undefined) return this.#begin()
    this.#next ??= this.#current.then(() => {
      this.#next = undefined
      return this.reload()
    })
    return this.#next
  }

  #begin(): Promise<ReloadOutcome> {
    this.#current = this.#reload().finally(() => {
      this.#current = undefined
    })
    return this.#current
  }

  async #reload(): Promise<ReloadOutcome> {
    const at = this.#parts.clock.now()
    const { file = 'the configuration', read } = this.#parts
    if (read === undefined) {
      const problem = 'there is nothing to reload: this gateway was started without a configuration file'
      this.#parts.telemetry.event({ type: 'warning', message: problem })
      return { kind: 'refused', at, problems: [problem] }
    }
    try {
      const loaded = await read()
      if (!loaded.ok) return this.#refused(at, loaded.errors.map(withoutValues))
      const applied = await this.#parts.apply(loaded.config)
      if ('wrong' in applied) return this.#refused(at, [`${file}  ${withoutValues(applied.wrong)}`])
      return this.#applied(at, applied.needsRestart)
    } catch (error) {
      return this.#refused(at, [`${file}  cannot be applied: ${error instanceof Error ? error.message : String(error)}`])
    }
  }

  #applied(readAt: EpochMillis, needsRestart: readonly string[]): ReloadOutcome {
    const { file } = this.#parts
    this.#status = { ...(file !== undefined && { file }), readAt, needsRestart }
    this.#parts.telemetry.event({ type: 'config-reloaded', file: file ?? '', needsRestart })
    return { kind: 'applied', readAt, needsRestart }
  }

  #refused(at: EpochMillis, problems: readonly string[]): ReloadOutcome {
    this.#status = { ...this.#status, refused: { at, problems } }
    this.#parts.telemetry.event({ type: 'config-refused', file: this.#parts.file ?? 'the reload', problems })
    return { kind: 'refused', at, problems }
  }
}
