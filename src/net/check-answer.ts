/** What the answer to a health check says, as far as it has come. */
import type { ProbeResult } from '../core/health/health.ts'
import { readReports } from '../core/server-reports/read-reports.ts'
import { ChunkedDecoder } from '../http1/chunked.ts'
import type { ResponseHead } from '../http1/message.ts'
import { CHUNKED, parseResponseHead, UNTIL_CLOSE } from '../http1/parse-response.ts'
import type { Bytes } from '../lib/units.ts'

export interface ExpectedAnswer {
  readonly method?: 'GET' | 'HEAD'
  /** From and to; absent: 200 to 399. */
  readonly status?: readonly (readonly [from: number, to: number])[]
  /** Must be in it. */
  readonly body?: string
}

export const ANSWER_BYTES_MAX: Bytes = 64 * 1024
const HEADERS_MAX = 1000
const HEALTHY: readonly (readonly [from: number, to: number])[] = [[200, 399]]

/** Undefined: more of it is needed. `ended`: no more comes. */
export function checkAnswer(answer: Buffer, ended: boolean, expected: ExpectedAnswer): ProbeResult | undefined {
  const end = answer.indexOf('\r\n\r\n')
  if (end < 0) {
    if (answer.length > ANSWER_BYTES_MAX) return failed('the answer to the check is not HTTP')
    return ended ? failed('connection closed during the check') : undefined
  }
  const head = parseResponseHead(answer.toString('latin1', 0, end + 4), expected.method ?? 'GET', HEADERS_MAX)
  if (typeof head === 'string') return failed(`the answer to the check is not valid: ${head}`)
  const result = judge(
    head,
    { bytes: answer.subarray(end + 4, ANSWER_BYTES_MAX), isAll: ended || answer.length >= ANSWER_BYTES_MAX },
    expected,
  )
  const reports = head.hasControls && result !== undefined ? readReports(head.headers) : undefined
  return result === undefined || reports === undefined ? result : { ...result, reports }
}

type Answered = Exclude<ProbeResult, { readonly kind: 'unasked' }>

interface Body {
  readonly bytes: Buffer
  /** No more comes, or is looked at. */
  readonly isAll: boolean
}

function judge(head: ResponseHead, { bytes, isAll }: Body, { status = HEALTHY, body }: ExpectedAnswer): Answered | undefined {
  if (!status.some(([from, to]) => head.status >= from && head.status <= to)) return failed(`the check answered ${head.status}`)
  if (body === undefined) return { kind: 'passed' }
  const read = bodyOf(bytes, head.bodyLength)
  if (typeof read === 'string') return failed(`the answer to the check is not valid: ${read}`)
  if (read.bytes.includes(body)) return { kind: 'passed' }
  return read.whole || isAll ? failed('the answer to the check has not the text in it') : undefined
}

function bodyOf(bytes: Buffer, bodyLength: number): { readonly bytes: Buffer; readonly whole: boolean } | string {
  if (bodyLength === UNTIL_CLOSE) return { bytes, whole: false }
  if (bodyLength !== CHUNKED) return { bytes: bytes.subarray(0, bodyLength), whole: bytes.length >= bodyLength }
  const pieces: Buffer[] = []
  let whole = false
  const decoder = new ChunkedDecoder({ trailerBytesMax: ANSWER_BYTES_MAX, headersMax: HEADERS_MAX })
  const stopped = decoder.read(bytes, 0, {
    data: (piece) => void pieces.push(piece),
    end: () => {
      whole = true
    },
  })
  return typeof stopped === 'string' ? stopped : { bytes: Buffer.concat(pieces), whole }
}

function failed(reason: string): Answered {
  return { kind: 'failed', refused: false, reason }
}
