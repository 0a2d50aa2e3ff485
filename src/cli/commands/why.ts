/** `spillway why`: gathers what the gateway knows of a job and everything that could hold it, and tells it in words. */
import type { AdminStatus } from '../../admin/status.ts'
import type { JobId } from '../../ports/job-store.ts'
import { askStatus } from '../admin-client.ts'
import { type Command, complain, EXIT } from '../command.ts'
import { historyFacts, type JobFacts, jobFacts, type QueueFacts, queueFacts } from '../job-facts.ts'
import { connect, CONNECTION_DETAILS, CONNECTION_OPTIONS, JSON_OPTION, type QueueApi, segment } from '../queue-api.ts'
import { type WhyFacts, whyLines } from '../why.ts'
import { shown } from '../words.ts'

export const whyCommand: Command = {
  name: 'why',
  positionals: ['JOB'],
  summary: 'The whole history of a job in words: how it came, why it waits, every hand-out, how it ended, what to do next.',
  details: `JOB is the job id of logs, metrics and the header Spillway-Job; a token's first part is one too.\n${CONNECTION_DETAILS}`,
  options: { ...CONNECTION_OPTIONS, json: { ...JSON_OPTION, help: 'print {job, lines, facts} as JSON' } },
  async run(args, io) {
    const id = jobIdOf(args.positionals[0] ?? '')
    const api = await connect(args, io, 'why')
    if (api === undefined) return EXIT.usage
    const facts = await gather(api, id)
    if ('wrong' in facts) return complain(io, 'why', `job ${shown(id)}: ${facts.wrong}`)
    const lines = whyLines(facts)
    io.out(args.has('json') ? `${JSON.stringify({ job: id, lines, facts }, undefined, 2)}\n` : `${lines.join('\n')}\n`)
    return EXIT.ok
  },
}

/** People have tokens at hand as often as ids; the secret in one is not ours to show. */
export function jobIdOf(text: string): JobId {
  return text.split('.', 1)[0] ?? ''
}

async function gather(api: QueueApi, id: JobId): Promise<WhyFacts | { readonly wrong: string }> {
  const told = await api.get(`jobs/${segment(id)}`, { include: 'history' })
  if ('wrong' in told) return told
  const job = jobFacts(told.value.document)
  if (job === undefined) return { wrong: `what ${api.admin.url} tells of it is no job` }
  const [queue, status, blocker] = await Promise.all([
    api.get(`queues/${segment(job.queue)}`),
    askStatus(api.admin),
    job.blockedBy === undefined ? undefined : api.get(`jobs/${segment(job.blockedBy)}`),
  ])
  // Without them it can tell less, not nothing.
  const known = 'wrong' in queue ? undefined : queueFacts(queue.value.document)
  const whole = 'wrong' in status ? undefined : status.value
  return {
    now: Date.now(),
    job,
    history: historyFacts(told.value.document),
    queue: known === undefined ? undefined : withStatus(known, whole),
    pool: whole?.pools.find(({ name }) => name === known?.pool),
    blocker: blockerFacts(blocker),
  }
}

function blockerFacts(told: Awaited<ReturnType<QueueApi['get']>> | undefined): JobFacts | undefined {
  return told === undefined || 'wrong' in told ? undefined : jobFacts(told.value.document)
}

function withStatus(queue: QueueFacts, status: AdminStatus | undefined): QueueFacts {
  const { concurrency, etaMs = 0, jobs, scheduled } = status?.queues.find(({ name }) => name === queue.name) ?? {}
  const waiting = (jobs?.queued ?? 0) + (jobs?.retrying ?? 0) - (scheduled ?? 0)
  return {
    ...queue,
    ...(concurrency !== undefined && { concurrency }),
    // At the pace of which `status` speaks.
    ...(etaMs > 0 && waiting > 0 && { drainPerSecond: (waiting * 1000) / etaMs }),
  }
}
