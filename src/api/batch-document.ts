/** A batch as clients see it, and the answers that hold nothing else. */
import type { Config } from '../config/config.ts'
import type { Batch } from '../jobs/batches.ts'
import { hasAlready } from '../core/headers/conditional.ts'
import { headerValues } from '../http1/message.ts'
import type { Call } from '../net/call.ts'
import { PRIVATE_HEADERS } from './problem.ts'
import { tokenOf } from './token.ts'

const JSON_TYPE: readonly string[] = ['Content-Type', 'application/json']
/** There is no estimate for many queues together. */
const COME_BACK_SECONDS = 2

export function batchToken({ id, head }: Batch): string {
  return tokenOf({ id, secret: head.secret })
}

export function batchLinks(config: Config, batch: Batch): { readonly self: string; readonly jobs: string; readonly events: string } {
  const self = `${config.jobs.publicUrl ?? ''}${config.jobs.path}/batches/${batchToken(batch)}`
  return { self, jobs: `${self}/jobs`, events: `${self}/events` }
}

/** Without its links: for those who look into queues and are shown no tokens. */
export function batchView({ id, head, state, ended }: Batch): Record<string, unknown> {
  const { reference, submittedAt, finishedAt } = head
  return {
    id,
    status: ended ? 'ended' : 'running',
    ...(reference !== undefined && { reference }),
    total: state.total,
    counts: state.counts,
    submittedAt: new Date(submittedAt).toISOString(),
    ...(finishedAt !== undefined && { finishedAt: new Date(finishedAt).toISOString() }),
  }
}

export function batchDocument(config: Config, batch: Batch): Record<string, unknown> {
  return { ...batchView(batch), links: batchLinks(config, batch) }
}

/** What is the same has the same, over restarts too. */
export function batchTag({ state, ended }: Batch): string {
  return `${Object.values(state.counts).join('.')}${ended ? '.ended' : ''}`
}

export function sendBatch(call: Call, config: Config, batch: Batch, options: { status: 200 | 202; extraHeaders: readonly string[] }): void {
  const tag = `W/"${batchTag(batch)}"`
  const { status, extraHeaders } = options
  const headers = ['ETag', tag, ...PRIVATE_HEADERS, ...extraHeaders]
  if (status === 202) headers.push('Location', batchLinks(config, batch).self)
  if (!batch.ended) headers.push('Retry-After', String(COME_BACK_SECONDS))
  const knows = call.head.method !== 'DELETE' && status === 200 && hasAlready(headerValues(call.head.headers, 'if-none-match'), tag)
  if (knows) call.send(304, headers, '')
  else call.send(status, [...headers, ...JSON_TYPE], JSON.stringify(batchDocument(config, batch)))
}
