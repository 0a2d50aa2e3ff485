/**
 * What an operator has decided about a route while the gateway runs: everything that may wait goes into the queue, or nothing is taken at all.
 * Kept in the store as a note, because who has switched a route off at night does not expect a restart to switch it on.
 */
import { isMapping } from '../lib/mapping.ts'
import type { EpochMillis } from '../lib/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { JobStore } from '../ports/job-store.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'

export type SwitchedMode = 'queue' | 'refuse'

export interface ModeSwitch {
  readonly mode: SwitchedMode
  readonly since: EpochMillis
}

const NOTE = 'mode/'

export interface SwitchParts {
  /** Of some route something is otherwise now. */
  readonly changed?: () => void
  readonly store: Pick<JobStore, 'notes' | 'command'>
  readonly telemetry: Telemetry
  readonly clock: Clock
}

export class ModeSwitches {
  readonly #parts: SwitchParts
  readonly #switches = new Map<string, ModeSwitch>()

  constructor(parts: SwitchParts) {
    this.#parts = parts
  }

  /** Those that were made before the gateway started. */
  async restore(): Promise<void> {
    for (const { name, text } of await this.#parts.store.notes(NOTE)) {
      const kept = parse(text)
      if (kept !== undefined) this.#switches.set(name.slice(NOTE.length), kept)
    }
  }

  of(route: string): ModeSwitch | undefined {
    return this.#switches.size === 0 ? undefined : this.#switches.get(route)
  }

  /** Durable when it resolves. `auto`: the route does as its configuration says. */
  async set(route: string, mode: SwitchedMode | 'auto'): Promise<void> {
    const { store, telemetry, clock } = this.#parts
    const name = NOTE + route
    if (mode === 'auto') {
      await store.command([{ kind: 'note', name }])
      this.#switches.delete(route)
    } else {
      const made: ModeSwitch = { mode, since: clock.now() }
      await store.command([{ kind: 'note', name, text: JSON.stringify(made) }])
      this.#switches.set(route, made)
    }
    telemetry.event({ type: 'mode-switched', route, to: mode })
    this.#parts.changed?.()
  }
}

function parse(text: string): ModeSwitch | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (!isMapping(value)) return undefined
    const { mode, since } = value
    return (mode === 'queue' || mode === 'refuse') && typeof since === 'number' ? { mode, since } : undefined
  } catch {
    return undefined
  }
}
