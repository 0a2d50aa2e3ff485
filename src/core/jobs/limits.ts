/** How long what belongs to a job may be, whoever says it: a header, a route, a document of the queue API, the configuration. In characters. */
import type { Millis } from '../../lib/units.ts'

export const KEY_LENGTH_MAX = 255
export const TENANT_LENGTH_MAX = 255
export const IDEMPOTENCY_KEY_LENGTH_MAX = 255
export const REFERENCE_LENGTH_MAX = 128
export const DELAY_MAX_MS: Millis = 366 * 86_400_000
export const ATTEMPTS_MAX = 1000
