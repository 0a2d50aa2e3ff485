/** A client's bearer secret for one job, `<job id>.<secret>`: taken apart, and compared so that time tells nothing. */
import { timingSafeEqual } from 'node:crypto'
import type { StoredJob } from '../ports/job-store.ts'

/** Longer than any id and any secret that we make. */
const PART_MAX = 64
const PART = /^[A-Za-z0-9_-]+$/

export interface TokenParts {
  readonly id: string
  readonly secret: string
}

export function tokenOf(job: Pick<StoredJob, 'id' | 'secret'>): string {
  return `${job.id}.${job.secret}`
}

/** Undefined: it cannot be a token of ours. */
export function parseToken(token: string): TokenParts | undefined {
  const dot = token.indexOf('.')
  const id = token.slice(0, dot)
  const secret = token.slice(dot + 1)
  if (dot < 0 || id.length > PART_MAX || secret.length > PART_MAX || !PART.test(id) || !PART.test(secret)) return undefined
  return { id, secret }
}

/** Compares also when there is no such job, so that an unknown id takes as long as a wrong secret. */
export function secretMatches(job: Pick<StoredJob, 'secret'> | undefined, secret: string): boolean {
  const given = Buffer.alloc(PART_MAX)
  const expected = Buffer.alloc(PART_MAX)
  given.write(secret, 'latin1')
  expected.write(job?.secret ?? '', 'latin1')
  const equal = timingSafeEqual(given, expected)
  return equal && job !== undefined && job.secret.length > 0 && job.secret.length === secret.length
}
