/** The id of a request, as it may come from others and as we make it. */

const LENGTH_MAX = 128
/** What stands in a header, a log line and a shell without being quoted. */
const FORM = /^[A-Za-z0-9_.~+/=:@-]+$/

/** Several, or one of other characters, are none: nobody gets to write into logs and headers what he likes. */
export function acceptableRequestId(values: readonly string[]): string | undefined {
  const [value = ''] = values
  return values.length === 1 && value.length <= LENGTH_MAX && FORM.test(value) ? value : undefined
}

export function newRequestId(bytes: Buffer): string {
  return bytes.toString('hex')
}
