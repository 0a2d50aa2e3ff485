/** Servers that register themselves, as the program reads it; a part of a pool in `config.ts`. */
import type { RegistrationRules } from '../core/members/registrations.ts'

export interface RegistrationConfig extends RegistrationRules {
  /** Never shown. */
  readonly tokens: readonly string[]
}
