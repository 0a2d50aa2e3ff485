/**
 * A batch as clients of routes write it: `{ "reference", "requests": [ { "method", "target", "headers", "body" | "text" | "base64" } ] }`. Each request is
 * read as a job document is, but for the client headers of Spillway, which are its route's to allow.
 */
import { isMapping } from '../../lib/mapping.ts'
import { type DocumentLimits, isWrong, type JobDocument, readJobDocument, type Wrong } from './job-document.ts'
import { REFERENCE_LENGTH_MAX } from './limits.ts'

export interface BatchDocument {
  readonly reference?: string
  readonly items: readonly unknown[]
}

const ITEM_FIELDS = ['method', 'target', 'headers', 'body', 'text', 'base64'] as const

/** `list`: what the list of items is called. `others`: members that somebody else reads. */
export function readBatchDocument(
  value: unknown,
  { list, max, others = [] }: { readonly list: string; readonly max: number; readonly others?: readonly string[] },
): BatchDocument | Wrong {
  if (!isMapping(value)) return { path: '', wrong: `a batch is an object with ${list}` }
  const other = Object.keys(value).find((name) => name !== list && name !== 'reference' && !others.includes(name))
  if (other !== undefined) return { path: other, wrong: 'there is no such field' }
  const { reference, [list]: items } = value
  if (reference !== undefined && !isReference(reference))
    return { path: 'reference', wrong: `must be a text of 1 to ${REFERENCE_LENGTH_MAX} characters` }
  if (!Array.isArray(items) || items.length === 0) return { path: list, wrong: 'must be a list of at least one' }
  if (items.length > max) return { path: list, wrong: `has ${items.length} entries, at most ${max} are one batch (limits.batch)` }
  return reference === undefined ? { items } : { items, reference }
}

/** One of the requests. */
export function readBatchItem(value: unknown, limits: DocumentLimits): JobDocument | Wrong {
  if (!isMapping(value)) return { path: '', wrong: 'a request is an object, such as { "method": "POST", "target": "/reports" }' }
  const other = Object.keys(value).find((name) => !ITEM_FIELDS.some((field) => field === name))
  if (other !== undefined) return { path: other, wrong: 'there is no such field' }
  if (value['target'] === undefined) return { path: 'target', wrong: 'is missing' }
  const { body, ...rest } = value
  const read = readJobDocument('body' in value ? { ...rest, payload: body } : rest, { ...limits, clientHeaders: true })
  return isWrong(read) && read.path === 'payload' ? { ...read, path: 'body' } : read
}

function isReference(value: unknown): value is string {
  return typeof value === 'string' && value.length >= 1 && value.length <= REFERENCE_LENGTH_MAX && value.isWellFormed()
}
