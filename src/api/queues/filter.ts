/** Which jobs are meant: the same words in a query string, when looking, and in a document, when a task is to work on them. */
import { JOB_STATUSES, type JobStatus } from '../../core/jobs/record.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { EpochMillis } from '../../lib/units.ts'
import type { JobFilter } from '../../ports/job-store.ts'

const RFC_3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/
const VALUE_LENGTH_MAX = 1024
const FIELDS = ['status', 'dead', 'key', 'tenant', 'reference', 'since', 'until'] as const

type Writable = { -readonly [K in keyof JobFilter]: JobFilter[K] }

/** Or what is wrong with it. */
export function queryFilter(query: URLSearchParams): JobFilter | string {
  const document: Record<string, unknown> = {}
  for (const field of FIELDS) {
    const value = query.get(field)
    if (value !== null && value !== '') document[field] = value
  }
  return readFilter(document)
}

export function readFilter(document: unknown): JobFilter | string {
  if (!isMapping(document)) return 'filter: must be an object, such as { "dead": "attempts" }'
  const filter: Writable = {}
  for (const field in document) {
    const wrong = readField(filter, field, document[field])
    if (wrong !== undefined) return `filter.${field}: ${wrong}`
  }
  return filter
}

function readField(filter: Writable, field: string, value: unknown): string | undefined {
  switch (field) {
    case 'status': {
      const statuses: readonly unknown[] = Array.isArray(value) ? value : typeof value === 'string' ? value.split(',') : [value]
      if (!statuses.every((status): status is JobStatus => JOB_STATUSES.includes(status as JobStatus)))
        return `must be some of ${JOB_STATUSES.join(', ')}`
      filter.statuses = [...new Set(statuses)]
      return undefined
    }
    case 'dead':
      if (value === true || value === 'true') filter.dead = true
      else if (isText(value)) filter.dead = value
      else return 'must be true, or the reason'
      return undefined
    case 'key':
    case 'tenant':
    case 'reference':
      if (!isText(value)) return 'must be a text'
      filter[field] = value
      return undefined
    case 'since':
    case 'until': {
      const at = typeof value === 'string' ? readTime(value) : undefined
      if (at === undefined) return 'must be a time such as 2030-01-01T00:00:00Z (RFC 3339)'
      filter[field] = at
      return undefined
    }
    default:
      return `there is no such field; there are ${FIELDS.join(', ')}`
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= VALUE_LENGTH_MAX
}

/** Undefined: it is none. */
function readTime(text: string): EpochMillis | undefined {
  const at = RFC_3339.test(text) ? Date.parse(text.toUpperCase().replace(' ', 'T')) : Number.NaN
  return Number.isNaN(at) ? undefined : at
}
