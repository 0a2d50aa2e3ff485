/** The Date header (RFC 9110, section 5.6.7), made once a second at most. */
import type { EpochMillis } from '../lib/units.ts'

let madeAt = 0
let text = ''

export function httpDate(now: EpochMillis): string {
  if (now - madeAt >= 1000 || now < madeAt) {
    madeAt = now - (now % 1000)
    text = new Date(madeAt).toUTCString()
  }
  return text
}
