/** The Date header (RFC 9110, section 5.6.7), made once a second at most. */

let madeAt = 0
let text = ''

export function httpDate(): string {
  const now = Date.now()
  if (now - madeAt >= 1000 || now < madeAt) {
    madeAt = now - (now % 1000)
    text = new Date(madeAt).toUTCString()
  }
  return text
}
