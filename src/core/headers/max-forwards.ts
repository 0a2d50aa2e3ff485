/** Max-Forwards (RFC 9110, section 7.6.2): how far an OPTIONS request may still go. What is no number is nobody's to count. */
import type { FlatHeaders } from '../../http1/message.ts'

/** What goes on of a number that is larger than any chain of gateways. */
const FORWARDS_MAX = 65_535

/** It was to come as far as here. */
export function endsHere(headers: FlatHeaders): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] as string).toLowerCase() === 'max-forwards' && /^0+$/.test(headers[i + 1] as string)) return true
  }
  return false
}

/** For the next hop. */
export function oneForwardLess(value: string): string {
  return /^\d+$/.test(value) ? String(Math.min(Number(value) - 1, FORWARDS_MAX)) : value
}
