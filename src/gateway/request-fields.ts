/** The field lines that a server gets with a live request. The usual head passes as the text that it came as, plus the lines about this hop. */
import { type ForwardOptions, type ForwardingPeer, forwardRequestHeaders } from '../core/headers/forward.ts'
import type { RequestHead } from '../http1/message.ts'
import { fieldLines } from '../http1/write.ts'
import type { Call } from '../net/call.ts'
import type { LiveContext } from './context.ts'

/** How this hop names itself to servers. */
export function hopOf({ peer }: Pick<Call, 'peer'>, context: Pick<LiveContext, 'forwarding' | 'secureForwarding'>): ForwardOptions {
  return peer.secure === true ? context.secureForwarding : context.forwarding
}

/** The same as the lines of `forwardRequestHeaders`, to the letter. */
export function requestFields(head: RequestHead, peer: ForwardingPeer, options: ForwardOptions): string {
  if (head.verbatim === undefined) return fieldLines(forwardRequestHeaders(head, peer, options))
  return head.verbatim + hopLines(head, peer, options)
}

let last = {
  address: '',
  host: '',
  minor: 1,
  options: undefined as ForwardOptions | undefined,
  cert: undefined as string | undefined,
  lines: '',
}

/** Via, Forwarded, X-Forwarded-*: the same for all requests of a client to a host, so the last ones are kept. */
function hopLines(head: RequestHead, peer: ForwardingPeer, options: ForwardOptions): string {
  const { method, host, minor } = head
  const { address, clientCert: cert } = peer
  if (last.address !== address || last.host !== host || last.minor !== minor || last.options !== options || last.cert !== cert) {
    const lines = fieldLines(forwardRequestHeaders({ method, headers: [], connection: '', host, minor }, peer, options))
    last = { address, host, minor, options, cert, lines }
  }
  return last.lines
}
