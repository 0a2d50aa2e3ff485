/**
 * Webhooks that somebody asks for: a test, one that is to go out again, all that an endpoint has missed. What could not be delivered is kept as it
 * was and runs again; of what was delivered only the event is known, so it is made anew of the job that it told of. Its id stays: a receiver
 * knows what it has had.
 */
import { endOf } from '../core/jobs/follow-up.ts'
import { asksFor } from '../core/webhooks/events.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { EpochMillis } from '../lib/units.ts'
import type { Clock, Random } from '../ports/clock.ts'
import type { CommandOutcome, JobFilter, JobId, StoredJob } from '../ports/job-store.ts'
import type { Endpoint } from './endpoints.ts'
import { jobOfEvent, type Recipient, testEvent, type WebhookEvent, type WebhookJob } from './maker.ts'
import type { Webhooks } from './webhooks.ts'

/** Jobs looked at in one question to the store. */
const PAGE = 200
const ENDED = ['succeeded', 'failed', 'cancelled', 'expired'] as const

export interface ReplayParts {
  readonly jobs: Pick<Jobs, 'queues' | 'followUps'>
  readonly webhooks: Webhooks
  readonly clock: Clock
  readonly random: Random
}

export type Sent =
  | { readonly kind: 'sent'; readonly webhook: JobId }
  /** `detail` says why. */
  | { readonly kind: 'not-possible'; readonly detail: string }
  /** The job that it told of is no longer kept. */
  | { readonly kind: 'gone' }

/** Undefined: webhooks are off. */
export async function sendTest(parts: ReplayParts, endpoint: Endpoint): Promise<Sent> {
  const id = parts.random.bytes(12).toString('hex')
  return submitted(parts, await jobsTo(parts, { endpoint }, testEvent(endpoint.name, id, parts.clock.now())))
}

/** `job`: a webhook that has ended. */
export async function resend(parts: ReplayParts, job: StoredJob, endpoint: Endpoint | undefined): Promise<Sent> {
  if (job.finishedAt === undefined) return { kind: 'not-possible', detail: 'It has not ended: it is still to be delivered.' }
  if (job.dead !== undefined) {
    const outcome = await parts.jobs.queues.command({ kind: 'redrive', id: job.id })
    return outcome.kind === 'refused' ? { kind: 'not-possible', detail: `${outcome.detail}.` } : { kind: 'sent', webhook: job.id }
  }
  const id = job.reference ?? ''
  if (jobOfEvent(id) === undefined) return { kind: 'not-possible', detail: 'It tells of no job, so it cannot be made again.' }
  const event = await eventAgain(parts, id)
  const recipient = endpoint === undefined ? callbackOf(event) : { endpoint }
  if (event === undefined || recipient === undefined) return { kind: 'gone' }
  return submitted(parts, await jobsTo(parts, recipient, event))
}

/** Those that were given up run again, step by step: the outcome tells the number of the task. */
export function replayFailed(parts: ReplayParts, endpoint: Endpoint, since: EpochMillis | undefined): Promise<CommandOutcome> {
  const queue = parts.webhooks.settings?.queue.name ?? ''
  const filter = { queue, tenant: endpoint.name, dead: true as const, ...(since !== undefined && { since }) }
  return parts.jobs.queues.command({ kind: 'begin', task: { kind: 'redrive', filter } })
}

export interface ReplayPage {
  readonly sent: number
  /** Where to go on; absent: that was all. */
  readonly next?: string
}

/**
 * Of all jobs that were submitted since then, have ended, and are still kept: what the endpoint asks for, whether it has had it or not. Looks at
 * so many pages at once, and not beyond what there is room for; `after` is the `next` of the page before. A text: there was room for none.
 */
export async function replayAll(
  parts: ReplayParts,
  endpoint: Endpoint,
  asked: { readonly since: EpochMillis; readonly after?: string; readonly pages: number },
): Promise<ReplayPage | string> {
  const { since, pages } = asked
  const { settings } = parts.webhooks
  const queues = (await parts.jobs.queues.stats()).map(({ queue }) => queue).filter((name) => name !== settings?.queue.name)
  queues.sort()
  let { queue, after } = placeOf(queues, asked.after)
  let sent = 0
  for (let looked = 0; queue !== undefined; looked++) {
    if (looked === pages) return { sent, next: cursorText(queue, after) }
    const filter: JobFilter = { queue, since, statuses: ENDED }
    const page = await parts.jobs.queues.browse({ filter, max: PAGE, ...(after !== undefined && { after }) })
    const told = await tellAgain(parts, endpoint, page.jobs)
    sent += told.sent
    if (told.full !== undefined) return sent === 0 ? told.full : { sent, next: cursorText(queue, told.last ?? after) }
    after = page.next
    if (after === undefined) queue = queues.find((name) => name > (queue as string))
  }
  return { sent }
}

interface ToldAgain {
  readonly sent: number
  /** Why there was no room for the next one. */
  readonly full?: string
  /** The last job of which there was room to tell. */
  readonly last?: JobId | undefined
}

async function tellAgain(parts: ReplayParts, endpoint: Endpoint, jobs: readonly StoredJob[]): Promise<ToldAgain> {
  const made: { readonly of: JobId; readonly job: WebhookJob['job'] }[] = []
  for (const ended of jobs) {
    const event = eventOf(parts, ended)
    if (event === undefined || !asksFor(endpoint.config, event)) continue
    made.push(...(await jobsTo(parts, { endpoint }, event)).map(({ job }) => ({ of: ended.id, job })))
  }
  const outcomes = await parts.jobs.queues.send(made.map(({ job }) => job))
  const sent = outcomes.findIndex(({ kind }) => kind === 'refused')
  const refused = outcomes[sent]
  return refused?.kind === 'refused' ? { sent, full: `${refused.detail}.`, last: made[sent - 1]?.of } : { sent: made.length }
}

function cursorText(queue: string, after: string | undefined): string {
  return after === undefined ? queue : `${queue}/${after}`
}

/** Of a queue that is not looked at, such as that of webhooks, it goes on with the next one. */
function placeOf(queues: readonly string[], cursor = ''): { queue: string | undefined; after: JobId | undefined } {
  const [name = '', after] = cursor.split('/')
  const queue = queues.find((each) => each >= name)
  return { queue, after: queue === name ? after : undefined }
}

function eventOf({ jobs, webhooks }: ReplayParts, job: StoredJob): WebhookEvent | undefined {
  return webhooks.maker.eventOf(job, () => jobs.followUps.answerOf(job))
}

/** Undefined: the job is not kept, or has been sent again since. */
async function eventAgain(parts: ReplayParts, id: string): Promise<WebhookEvent | undefined> {
  const of = jobOfEvent(id)
  const job = of === undefined ? undefined : (await parts.jobs.queues.read([of.job], 'status'))[0]?.job
  return job === undefined || endOf(job) !== of?.end ? undefined : eventOf(parts, job)
}

function callbackOf(event: WebhookEvent | undefined): Recipient | undefined {
  return event?.callback === undefined ? undefined : { callback: event.callback }
}

async function jobsTo({ webhooks }: ReplayParts, recipient: Recipient, event: WebhookEvent): Promise<readonly WebhookJob[]> {
  const { settings } = webhooks
  if (settings === undefined) return []
  return webhooks.maker.jobsTo([recipient], event, { ...settings, answer: await webhooks.maker.answerFor(event, settings) })
}

/** Without an idempotency key: whoever asks twice wants it twice. */
async function submitted({ jobs }: ReplayParts, made: readonly WebhookJob[]): Promise<Sent> {
  const [outcome] = await jobs.queues.send(made.map(({ job }) => job))
  if (outcome?.kind === 'created') return { kind: 'sent', webhook: outcome.job.id }
  return { kind: 'not-possible', detail: outcome?.kind === 'refused' ? `${outcome.detail}.` : 'Webhooks are not configured.' }
}
