/** When a certificate needs a look. */
import type { Millis } from '../../lib/units.ts'

/** Authorities renew a month before the end; who is here has missed that for half of it. */
export const EXPIRES_SOON_MS: Millis = 14 * 86_400_000
