/** `spillway jobs list`: which jobs there are, by what is known of them; and the filter options that other commands share. */
import { JOB_STATUSES } from '../../core/jobs/record.ts'
import { parseDuration } from '../../lib/duration.ts'
import { isMapping } from '../../lib/mapping.ts'
import { nearest } from '../../lib/nearest.ts'
import type { EpochMillis } from '../../lib/units.ts'
import { spanText } from '../../telemetry/event-text.ts'
import { type Arguments, type Command, complain, EXIT, type OptionSpec } from '../command.ts'
import { type JobFacts, jobFacts, listOf, queueFacts, textOf } from '../job-facts.ts'
import {
  connect,
  CONNECTION_DETAILS,
  CONNECTION_OPTIONS,
  JSON_OPTION,
  QUEUE_OPTION,
  type Query,
  type QueueApi,
  queueNamed,
  segment,
} from '../queue-api.ts'
import { shown, table } from '../words.ts'

const LIMIT_DEFAULT = 50
const LIMIT_MAX = 100_000
const PAGE_MAX = 1000
/** Those that a dead letter can have without a server's or a consumer's own choice. */
const REASONS: ReadonlySet<string> = new Set([
  ...['attempts', 'expired', 'deadline', 'poison', 'outcome_unknown', 'answer_broken', 'overflow', 'corrupt'],
])

export const DEAD_OPTION: OptionSpec = {
  type: 'string',
  value: 'REASON',
  absent: { value: 'true', isValue: (next) => REASONS.has(next) },
  help: `only dead letters; of that reason: ${[...REASONS].join(', ')}`,
}

export const FILTER_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  status: { type: 'string', value: 'STATUS', help: `only these, several by comma: ${JOB_STATUSES.join(', ')}` },
  dead: DEAD_OPTION,
  key: { type: 'string', value: 'KEY', help: 'only of this key' },
  tenant: { type: 'string', value: 'TENANT', help: 'only of this tenant' },
  reference: { type: 'string', value: 'TEXT', help: 'only with this reference' },
  since: { type: 'string', value: 'TIME', help: 'accepted then or later: 1h (ago), or 2030-01-01T00:00:00Z' },
  until: { type: 'string', value: 'TIME', help: 'accepted before that' },
}

/** As the API wants them, or what is wrong. */
export function filterQuery(args: Arguments, now: EpochMillis): Query | string {
  const status = args.text('status')
  for (const one of status?.split(',') ?? []) {
    if (JOB_STATUSES.some((each) => each === one)) continue
    const near = nearest(one, JOB_STATUSES)
    return `--status ${JSON.stringify(one)} is none${near === undefined ? '' : ` (did you mean ${near}?)`}; there are ${JOB_STATUSES.join(', ')}`
  }
  const times: Record<string, string> = {}
  for (const name of ['since', 'until']) {
    const text = args.text(name)
    const at = text === undefined ? undefined : timeArgument(text, now)
    if (text !== undefined && at === undefined)
      return `--${name} must be a span such as 1h, or a time such as 2030-01-01T00:00:00Z, not ${JSON.stringify(text)}`
    if (at !== undefined) times[name] = at
  }
  const others = Object.fromEntries(['dead', 'key', 'tenant', 'reference'].map((name) => [name, args.text(name)]))
  return { status, ...others, ...times }
}

/** Undefined: it is none. */
export function timeArgument(text: string, now: EpochMillis): string | undefined {
  const span = parseDuration(text)
  if (span !== undefined) return new Date(now - span).toISOString()
  const at = /^\d{4}-\d{2}-\d{2}T/.test(text) ? Date.parse(text) : Number.NaN
  return Number.isNaN(at) ? undefined : new Date(at).toISOString()
}

export const listJobs: Command = {
  name: 'jobs list',
  positionals: ['[QUEUE]'],
  summary: 'Jobs of a queue, or of all queues, the oldest first. All filters that are given must hold.',
  details: `Shows at most --limit of each queue. What waits is told with the reason; the whole story is told by: spillway why <job>\n${CONNECTION_DETAILS}`,
  options: {
    ...CONNECTION_OPTIONS,
    queue: QUEUE_OPTION,
    ...FILTER_OPTIONS,
    text: { type: 'string', value: 'TEXT', help: 'only with this text in target, headers or body, of request or result' },
    newest: { type: 'boolean', help: 'the newest first' },
    limit: { type: 'string', value: 'N', help: `at most so many (default: ${LIMIT_DEFAULT}, at most ${LIMIT_MAX})` },
    json: { ...JSON_OPTION, help: 'print {jobs, more}' },
  },
  async run(args, io) {
    const now = Date.now()
    const query = filterQuery(args, now)
    if (typeof query === 'string') return complain(io, 'jobs list', query, EXIT.usage)
    const limit = Number(args.text('limit') ?? LIMIT_DEFAULT)
    if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT_MAX)
      return complain(io, 'jobs list', `--limit must be a number from 1 to ${LIMIT_MAX}`, EXIT.usage)
    const api = await connect(args, io, 'jobs list')
    if (api === undefined) return EXIT.usage
    const queues = await queuesFor(api, queueNamed(args))
    if ('wrong' in queues) return complain(io, 'jobs list', queues.wrong)
    const asked = { ...query, text: args.text('text'), order: args.has('newest') ? 'newest' : undefined }
    const found: Found = { documents: [], more: false }
    for (const queue of queues) {
      const page = await browse(api, queue, asked, limit)
      if ('wrong' in page) return complain(io, 'jobs list', `queue ${shown(queue)}: ${page.wrong}`)
      found.documents.push(...page.documents)
      found.more ||= page.more
    }
    if (args.has('json')) io.out(`${JSON.stringify({ jobs: found.documents, more: found.more }, undefined, 2)}\n`)
    else
      io.out(
        listText(
          found.documents.map(jobFacts).filter((job) => job !== undefined),
          found.more,
          now,
        ),
      )
    return EXIT.ok
  },
}

export async function queuesFor(api: QueueApi, named: string | undefined): Promise<readonly string[] | { readonly wrong: string }> {
  if (named !== undefined) return [named]
  const told = await api.get('queues')
  return 'wrong' in told ? told : listOf(told.value.document, 'queues', queueFacts).map(({ name }) => name)
}

interface Found {
  readonly documents: unknown[]
  more: boolean
}

/** Page by page: a page may be short, even empty, and not be the last. */
async function browse(api: QueueApi, queue: string, query: Query, limit: number): Promise<Found | { readonly wrong: string }> {
  const documents: unknown[] = []
  for (let after: string | undefined; ; ) {
    const told = await api.get(`queues/${segment(queue)}/jobs`, {
      ...query,
      after,
      limit: String(Math.min(PAGE_MAX, limit - documents.length)),
    })
    if ('wrong' in told) return told
    const { document } = told.value
    documents.push(...listOf(document, 'jobs', (job) => job))
    after = isMapping(document) ? textOf(document['next']) : undefined
    if (after === undefined || documents.length >= limit) return { documents, more: after !== undefined }
  }
}

function listText(jobs: readonly JobFacts[], more: boolean, now: EpochMillis): string {
  if (jobs.length === 0) return 'no job\n'
  const rows = jobs.map((job) => [
    job.id,
    shown(job.queue),
    job.status,
    spanText(Math.max(0, now - job.submittedAt)),
    `${job.attempt}/${job.attempts}`,
    job.key === undefined ? '-' : shown(job.key),
    stateText(job, now),
  ])
  const lines = table([['JOB', 'QUEUE', 'STATUS', 'AGE', 'ATTEMPTS', 'KEY', ''], ...rows])
  return `${lines.join('\n')}\n${more ? '…and more; --limit shows them\n' : ''}`
}

/** What it waits for, or how it ended, in a few words. */
export function stateText(job: JobFacts, now: EpochMillis): string {
  const { status, error, dead, server, notBefore, blockedBy, position, handOuts } = job
  const failure = error === undefined ? '' : `${shown(error.code)}${error.status === undefined ? '' : ` ${error.status}`}`
  switch (status) {
    case 'running':
      return server === undefined ? '' : `on ${shown(server)}`
    case 'queued':
    case 'retrying': {
      const parts = failure === '' ? [] : [failure]
      if (notBefore !== undefined && notBefore > now) parts.push(`${handOuts === 0 ? 'due' : 'again'} in ${spanText(notBefore - now)}`)
      else if (blockedBy !== undefined) parts.push(`behind ${blockedBy}`)
      else if (position !== undefined) parts.push(`number ${position} in line`)
      return parts.join(', ')
    }
    case 'succeeded':
    case 'cancelled':
    case 'failed':
    case 'expired':
      return [dead === undefined ? '' : `dead: ${shown(dead)}`, failure].filter((part) => part !== '').join(', ')
  }
}
