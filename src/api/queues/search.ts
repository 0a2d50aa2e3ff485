/**
 * Finding jobs by a text in target, headers and bodies. There is no index for that: pages of jobs are read and looked at, a bounded number and a
 * bounded size in one call, which then tells where to go on. Credentials are looked at as they are shown.
 */
import type { Queues } from '../../jobs/queues.ts'
import type { Bytes } from '../../lib/units.ts'
import type { BufferBudget } from '../../net/buffer-budget.ts'
import type { BrowsePage, BrowseRequest, JobAnswer, JobId, JobRequest, ReadWant, StoredJob } from '../../ports/job-store.ts'
import { isCredential } from './bodies.ts'

/** In one call. */
const JOBS_LOOKED_AT_MAX = 2000
const BYTES_LOOKED_AT_MAX: Bytes = 32 * 1024 * 1024
/** Bodies that are in memory at once. */
const BYTES_AT_ONCE: Bytes = 4 * 1024 * 1024
const PAGE = 200

export interface Found {
  readonly jobs: readonly StoredJob[]
  readonly next?: JobId
}

export async function search(queues: Queues, budget: BufferBudget, request: BrowseRequest, text: string): Promise<Found> {
  const wanted = text.toLowerCase()
  const found: StoredJob[] = []
  let after = request.after
  let looked = 0
  let bytes = 0
  for (;;) {
    const page: BrowsePage = await queues.browse({ ...request, max: PAGE, ...(after === undefined ? {} : { after }) })
    for (const group of groupsOf(page.jobs)) {
      const weight = weightOf(group)
      // Where there is no room in memory, the next call goes on.
      if (bytes + weight > BYTES_LOOKED_AT_MAX && after !== request.after) return goOn(found, after)
      if (!budget.take(weight)) return goOn(found, after)
      try {
        for (const job of await matchesOf(queues, group, wanted)) {
          found.push(job)
          if (found.length === request.max) return goOn(found, job.id)
        }
      } finally {
        budget.give(weight)
      }
      bytes += weight
      looked += group.length
      after = group.at(-1)?.id
      if (looked >= JOBS_LOOKED_AT_MAX) return goOn(found, after)
    }
    if (page.next === undefined) return { jobs: found }
    after = page.next
    looked += PAGE - page.jobs.length
    if (looked >= JOBS_LOOKED_AT_MAX) return goOn(found, after)
  }
}

function goOn(jobs: readonly StoredJob[], next: JobId | undefined): Found {
  return next === undefined ? { jobs } : { jobs, next }
}

/** So many together that their bodies have room. */
function* groupsOf(jobs: readonly StoredJob[]): Iterable<readonly StoredJob[]> {
  let group: StoredJob[] = []
  let bytes = 0
  for (const job of jobs) {
    const weight = weightOf([job])
    if (group.length > 0 && bytes + weight > BYTES_AT_ONCE) {
      yield group
      group = []
      bytes = 0
    }
    group.push(job)
    bytes += weight
  }
  if (group.length > 0) yield group
}

function weightOf(jobs: readonly StoredJob[]): Bytes {
  return jobs.reduce((sum, job) => sum + job.requestBytes + (job.resultBytes ?? 0), 0)
}

async function matchesOf(queues: Queues, jobs: readonly StoredJob[], wanted: string): Promise<readonly StoredJob[]> {
  const matching = new Set<JobId>()
  for (const want of ['request', 'result'] as const satisfies readonly ReadWant[]) {
    const open = jobs.filter((job) => !matching.has(job.id) && (want === 'request' || job.hasAnswer))
    if (open.length === 0) continue
    for (const read of await queues.read(
      open.map(({ id }) => id),
      want,
    )) {
      if (read === undefined) continue
      const { request, answer } = read
      if ((request !== undefined && says(request, request.target, wanted)) || (answer !== undefined && says(answer, '', wanted)))
        matching.add(read.job.id)
    }
  }
  return jobs.filter(({ id }) => matching.has(id))
}

function says({ headers, body }: Pick<JobRequest | JobAnswer, 'headers' | 'body'>, target: string, wanted: string): boolean {
  if (target.toLowerCase().includes(wanted)) return true
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.toLowerCase().includes(wanted)) return true
    if (!isCredential(name) && (headers[i + 1] as string).toLowerCase().includes(wanted)) return true
  }
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8').toLowerCase().includes(wanted)
}
