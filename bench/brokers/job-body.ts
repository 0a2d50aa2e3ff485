/** The body of a benchmark's job: 1 KiB of text that begins with the job's number, so that whoever receives it knows which one it is. */

export const BODY_BYTES = 1024
const NUMBER_DIGITS = 12

/** Printable, the same in JSON, and nothing that compresses well: some brokers would. */
function fillerText(length: number): string {
  let state = 1
  let text = ''
  while (text.length < length) {
    state = (state * 48_271) % 2_147_483_647
    text += state.toString(36)
  }
  return text.slice(0, length)
}

const FILLER = fillerText(BODY_BYTES - NUMBER_DIGITS)
const TEMPLATE = Buffer.from('0'.repeat(NUMBER_DIGITS) + FILLER, 'latin1')

export function bodyText(job: number): string {
  return String(job).padStart(NUMBER_DIGITS, '0') + FILLER
}

export function bodyBytes(job: number): Buffer {
  const body = Buffer.allocUnsafe(BODY_BYTES)
  TEMPLATE.copy(body)
  body.write(String(job).padStart(NUMBER_DIGITS, '0'), 0, 'latin1')
  return body
}

/** The job's number; NaN when the body is not as it was sent. */
export function jobOf(body: string | Buffer): number {
  if (body.length !== BODY_BYTES) return Number.NaN
  const number = typeof body === 'string' ? body.slice(0, NUMBER_DIGITS) : body.toString('latin1', 0, NUMBER_DIGITS)
  return /^\d+$/.test(number) ? Number(number) : Number.NaN
}
