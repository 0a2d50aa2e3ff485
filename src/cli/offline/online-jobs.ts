/** Jobs of a running gateway for an export, page by page. What the admin address does not show of a request is left out, and said. */
import { defined } from '../../lib/defined.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { JobRequest } from '../../ports/job-store.ts'
import type { Told } from '../admin-client.ts'
import { jobFacts, textOf } from '../job-facts.ts'
import { parseExactly } from '../../lib/exact-json.ts'
import type { ExportedJob } from './exported-job.ts'

const REDACTED = '[redacted]'
const JSON_TYPE = 'application/json'

export interface Page {
  readonly text: string
}

export interface OnlineSource {
  page(queue: string, after: string | undefined): Promise<Told<Page>>
  /** By key, the failed jobs that hold them. */
  blockedKeys(queue: string): Promise<ReadonlyMap<string, string>>
}

export interface OnlineProblems {
  /** Why it ended before its end; empty: it did not. */
  wrong: string
  /** Jobs without their credentials. */
  redacted: number
}

export async function* onlineJobs(
  queues: readonly string[],
  source: OnlineSource,
  problems: OnlineProblems,
): AsyncGenerator<ExportedJob, void> {
  for (const queue of queues) {
    const blocked = await source.blockedKeys(queue)
    for (let after: string | undefined; ; ) {
      const told = await source.page(queue, after)
      if ('wrong' in told) {
        problems.wrong = `queue ${queue}: ${told.wrong}`
        return
      }
      // Digits that a double does not hold stand in payloads, and must come out again.
      const page = parseExactly(told.value.text)
      const jobs: unknown = isMapping(page) ? page['jobs'] : undefined
      for (const document of Array.isArray(jobs) ? (jobs as unknown[]) : []) {
        const job = exportedJob(document)
        if (job === undefined) continue
        if (job.redacted !== undefined) problems.redacted += 1
        const holder = job.key === undefined ? undefined : blocked.get(job.key)
        yield holder === undefined || holder === job.id ? job : { ...job, keyHeldBy: holder }
      }
      after = isMapping(page) ? textOf(page['next']) : undefined
      if (after === undefined) break
    }
  }
}

/** Undefined: its request is not kept any more. */
function exportedJob(document: unknown): ExportedJob | undefined {
  const facts = jobFacts(document)
  if (facts === undefined || !isMapping(document) || !isMapping(document['request'])) return undefined
  const { redacted, ...request } = requestOf(document['request'])
  const { id, queue, route = '', status, attempt, attempts, handOuts, priority, submittedAt } = facts
  const { key, tenant, reference, notBefore, expiresAt, deadlineAt, dead, error } = facts
  return {
    ...{ id, queue, route, status, attempt, attempts, handOuts, priority, submittedAt, sendOnce: false, method: request.method, request },
    ...defined({ key, tenant, reference, notBefore, expiresAt, deadlineAt, dead }),
    ...(error !== undefined && { error: { ...error, detail: error.detail ?? '' } }),
    ...(redacted.length > 0 && { redacted }),
  }
}

function requestOf(request: Readonly<Record<string, unknown>>): JobRequest & { readonly redacted: readonly string[] } {
  const { method, target, headers, contentType, payload, text, base64 } = request
  const fields: string[] = []
  const redacted: string[] = []
  for (const [name, value] of Object.entries(isMapping(headers) ? headers : {})) {
    for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (one === REDACTED) redacted.push(name)
      else if (typeof one === 'string') fields.push(name, one)
    }
  }
  const type = textOf(contentType) ?? (payload === undefined ? undefined : JSON_TYPE)
  if (type !== undefined) fields.push('content-type', type)
  const body =
    typeof base64 === 'string'
      ? Buffer.from(base64, 'base64')
      : Buffer.from(payload === undefined ? (textOf(text) ?? '') : JSON.stringify(payload))
  return { method: textOf(method) ?? 'POST', target: textOf(target) ?? '/', headers: fields, body, redacted }
}
