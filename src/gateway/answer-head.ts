/** The head of a server's answer on its way to the client: end-to-end fields, and the framing that the answer's kind asks for. */
import { forwardResponseHeaders } from '../core/headers/forward.ts'
import { parseContentLength } from '../http1/fields.ts'
import { headerValue, headerValues, type ResponseHead } from '../http1/message.ts'
import type { BodyFraming } from '../net/call.ts'
import type { DownstreamCall } from '../net/downstream-call.ts'

/** Without its Upgrade it says nothing; here that is not about our connection only (RFC 9110, section 15.5.22). */
const UPGRADE_REQUIRED = 426

/** `cors`: what the route says about it replaces what the server says. */
export function passHead(call: DownstreamCall, head: ResponseHead, cors?: readonly string[]): void {
  const asItIs = head.verbatim !== undefined && cors === undefined && head.status !== UPGRADE_REQUIRED
  if (asItIs && hasBody(call, head)) return call.sendLines(head, framingOf(head))
  const passed = forwardResponseHeaders(head.headers, head.connection)
  if (head.status === UPGRADE_REQUIRED) passed.push(...wantedUpgrade(head))
  const headers = cors === undefined ? passed : [...withoutCors(passed), ...cors]
  if (head.status < 200) return call.sendInformational(head.status, head.reason, headers)
  if (hasBody(call, head)) return call.sendHead(head.status, head.reason, headers, framingOf(head))
  // The length is a statement about another message: it passes, if it is one. A 204 has none (RFC 9110, section 8.6).
  const length = head.status === 204 ? undefined : headerValue(head.headers, 'content-length')
  if (length !== undefined && parseContentLength(length) >= 0) headers.push('Content-Length', length)
  call.sendHead(head.status, head.reason, headers, 'none')
}

function wantedUpgrade(head: ResponseHead): readonly string[] {
  const protocols = headerValues(head.headers, 'upgrade').join(', ')
  return protocols === '' ? [] : ['Connection', 'Upgrade', 'Upgrade', protocols]
}

function hasBody(call: DownstreamCall, head: ResponseHead): boolean {
  return call.head.method !== 'HEAD' && head.status >= 200 && head.status !== 204 && head.status !== 304
}

function framingOf(head: ResponseHead): BodyFraming {
  return head.bodyLength >= 0 ? head.bodyLength : 'chunked'
}

function withoutCors(headers: readonly string[]): string[] {
  const out: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    if (!(headers[i] as string).toLowerCase().startsWith('access-control-')) out.push(headers[i] as string, headers[i + 1] as string)
  }
  return out
}
