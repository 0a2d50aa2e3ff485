/**
 * What a webhook says: `{ type, timestamp, id, reference, status, queue, route, …, links, result }`. A result that is small enough is sent along, as
 * JSON exactly as the server wrote it, as text, or in base64. The same for the same event, however often it is made.
 */
import type { Bytes } from '../lib/units.ts'
import type { JobAnswer } from '../ports/job-store.ts'

/** Of the server's answer; what else it says is at the link. */
const RESULT_HEADERS: ReadonlySet<string> = new Set([
  'content-type',
  'content-language',
  'content-encoding',
  'etag',
  'last-modified',
  'location',
])

/** `document`: the rest of it, plain data. */
export function payloadOf(document: Readonly<Record<string, unknown>>, answer: JobAnswer | undefined, inlineMax: Bytes): Buffer {
  const text = JSON.stringify(document)
  // A blob was too large to be read.
  if (answer === undefined || answer.blob !== undefined || answer.body.length > inlineMax) return Buffer.from(text)
  return Buffer.from(`${text.slice(0, -1)},"result":${resultText(answer)}}`)
}

function resultText({ status, headers, body }: JobAnswer): string {
  const kept = keptHeaders(headers)
  const { encoding, text } = bodyText(body, kept)
  return `{"status":${status},"headers":${JSON.stringify(kept)},"encoding":"${encoding}","body":${text}}`
}

function keptHeaders(headers: readonly string[]): Record<string, string> {
  const kept: Record<string, string> = {}
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase()
    if (RESULT_HEADERS.has(name)) kept[name] = headers[i + 1] as string
  }
  return kept
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function bodyText(body: Uint8Array, headers: Readonly<Record<string, string>>): { readonly encoding: string; readonly text: string } {
  const base64 = { encoding: 'base64', text: JSON.stringify(Buffer.from(body).toString('base64')) }
  if (headers['content-encoding'] !== undefined) return base64
  let text: string
  try {
    text = utf8.decode(body)
  } catch {
    return base64
  }
  if (isJsonType(headers['content-type']) && isJson(text)) return { encoding: 'json', text }
  return { encoding: 'text', text: JSON.stringify(text) }
}

function isJsonType(type: string | undefined): boolean {
  return /^application\/([\w.+-]+\+)?json\s*(;|$)/i.test(type ?? '')
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
