/**
 * W3C Trace Context (Level 1): `traceparent` is version, trace id, parent id and flags. A wrong one is dropped, with its `tracestate`; of versions
 * that are not known yet the part that is known counts.
 */

export interface TraceParent {
  /** 32 hex digits. */
  readonly traceId: string
  /** 16 hex digits: the request that this one belongs to. */
  readonly parentId: string
  readonly sampled: boolean
}

const FORM = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
/** There is nothing longer in version 00; a later one may add something. */
const LENGTH_00 = 55
const LENGTH_MAX = 512

/** Undefined: it says nothing that counts. */
export function parseTraceparent(text: string): TraceParent | undefined {
  if (text.length < LENGTH_00 || text.length > LENGTH_MAX) return undefined
  const found = FORM.exec(text)
  if (found === null) return undefined
  const [, version, traceId = '', parentId = '', flags = '', more] = found
  if (version === 'ff' || (version === '00' && more !== undefined)) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(parentId)) return undefined
  return { traceId, parentId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

/** In the version that we speak. */
export function traceparentText({ traceId, parentId, sampled }: TraceParent): string {
  return `00-${traceId}-${parentId}-${sampled ? '01' : '00'}`
}

/** `bytes`: 24 random ones. Zeros mean nothing, and are as good as impossible. */
export function newTrace(bytes: Buffer): TraceParent {
  const hex = bytes.toString('hex')
  return { traceId: hex.slice(0, 32), parentId: hex.slice(32, 48), sampled: true }
}
