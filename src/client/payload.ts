/** Payloads on their way: JSON as it is, texts that are to be nothing else, bytes as base64. */

/** Of a job or a result, as the API takes and gives it. */
export interface WireBody {
  readonly payload?: unknown
  readonly text?: string
  readonly base64?: string
  readonly contentType?: string
}

const JSON_TYPE = /^application\/(json|[\w.+-]+\+json)\b/i
/** Other content types are bytes, also where these happen to be UTF-8. None at all: what the sender made of it. */
const TEXT_TYPE = /^(text\/|application\/(xml|[\w.+-]+\+xml|x-www-form-urlencoded|javascript)\b)/i
/** Arguments of one call: engines have a limit. */
const CHUNK = 8192

/** Bytes go as bytes, a text with another content type than JSON as this text, everything else as JSON. */
export function encodeBody(value: unknown, contentType?: string): WireBody {
  const type = contentType === undefined ? {} : { contentType }
  if (value instanceof Uint8Array) return { base64: toBase64(value), ...type }
  if (typeof value === 'string' && contentType !== undefined && !JSON_TYPE.test(contentType)) return { text: value, ...type }
  return value === undefined ? type : { payload: value, ...type }
}

/** The API shows bytes that are UTF-8 as a text; what they are is for the content type to say. */
export function decodeBody(body: WireBody): unknown {
  const { payload, text, base64, contentType } = body
  if (base64 !== undefined) return fromBase64(base64)
  if (text === undefined) return payload
  const isText = contentType === undefined || TEXT_TYPE.test(contentType) || JSON_TYPE.test(contentType)
  return isText ? text : new TextEncoder().encode(text)
}

/** The body of an answer by its content type: a JSON value, a text, or bytes; `undefined` where there is none. */
export async function valueOf(response: Response): Promise<unknown> {
  const type = response.headers.get('content-type') ?? ''
  if (JSON_TYPE.test(type)) {
    const text = await response.text()
    return text === '' ? undefined : (JSON.parse(text) as unknown)
  }
  if (TEXT_TYPE.test(type)) return await response.text()
  const bytes = new Uint8Array(await response.arrayBuffer())
  return bytes.length === 0 ? undefined : bytes
}

function toBase64(bytes: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < bytes.length; at += CHUNK) binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK))
  return btoa(binary)
}

function fromBase64(text: string): Uint8Array {
  const binary = atob(text)
  const bytes = new Uint8Array(binary.length)
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i)
  return bytes
}
