/**
 * A job's whole history in words, for somebody who is on call: how it came, why it waits, every hand-out, how it ended, and the exact command
 * for what to do next. A pure function from facts to lines; it never says more than the facts do.
 */
import type { PoolStatus } from '../admin/status.ts'
import { ERRORS } from '../core/errors.ts'
import type { Millis } from '../lib/units.ts'
import type { AttemptRecord } from '../ports/job-store.ts'
import { spanText } from '../telemetry/event-text.ts'
import type { JobFacts, QueueFacts } from './job-facts.ts'
import { sizeText } from './doctor/finding.ts'
import { plural, releaseCommand, shellWord, shown, table, timeText } from './words.ts'

export interface WhyFacts {
  readonly now: number
  readonly job: JobFacts
  /** Hand-outs that are over, oldest first. */
  readonly history: readonly AttemptRecord[]
  /** Undefined: it could not be asked for. */
  readonly queue: QueueFacts | undefined
  /** Whose servers work the queue off; undefined: pull consumers do, or it is not known. */
  readonly pool: PoolStatus | undefined
  /** The job of the same key that has to end first. */
  readonly blocker: JobFacts | undefined
}

export function whyLines(facts: WhyFacts): readonly string[] {
  const { now, todo } = presentOf(facts)
  const history = historyLines(facts)
  const lines = [titleOf(facts.job), '', cameLine(facts), ...history, '', ...now]
  if (todo.length > 0) lines.push('', 'next:', ...table(todo.map(([command, note = '']) => [`  ${command}`, note])))
  return lines
}

interface Present {
  readonly now: readonly string[]
  readonly todo: readonly Todo[]
}

/** A command, or what else is to be done, with a word about it. */
type Todo = readonly [command: string, note?: string]

function titleOf({ id, queue, status, attempt, attempts, key, dead }: JobFacts): string {
  const parts = [`job ${id} of queue ${shown(queue)}: ${status}${dead === undefined ? '' : `, a dead letter (${shown(dead)})`}`]
  if (attempt > 0) parts.push(`attempt ${attempt} of ${attempts}`)
  if (key !== undefined) parts.push(`key ${shown(key)}`)
  return parts.join(', ')
}

function cameLine({ job, now }: WhyFacts): string {
  const { submittedAt, route, method, requestBytes, priority, tenant, reference, redrives } = job
  const way = route === 'api' ? 'by the queue API' : route === undefined ? '' : `by route ${shown(route)}`
  const parts = [`It came ${ago(submittedAt, now)}${way === '' ? '' : ` ${way}`}`]
  if (method !== undefined) parts.push(`a ${method} of ${sizeText(requestBytes ?? 0)}`)
  if (priority > 0) parts.push(`priority ${priority}`)
  if (tenant !== undefined) parts.push(`tenant ${shown(tenant)}`)
  if (reference !== undefined) parts.push(`reference ${shown(reference)}`)
  if (job.parent !== undefined) parts.push(`made of the result of job ${shown(job.parent)}`)
  if (job.batch !== undefined) parts.push(`number ${job.batch.index + 1} of batch ${shown(job.batch.id)}`)
  const again = redrives > 0 ? ` It was run again ${redrives === 1 ? 'once' : `${redrives} times`} after it had become a dead letter.` : ''
  return `${parts.join(', ')}.${again}`
}

// --- what has been

function historyLines({ history, job }: WhyFacts): readonly string[] {
  if (history.length === 0) {
    return [
      job.handOuts === 0 || job.status === 'running'
        ? 'It has not been tried before.'
        : `It was handed out ${plural(job.handOuts, 'time')}; of these nothing more is known.`,
    ]
  }
  const first = history[0]?.handOut ?? 1
  const missing = first > 1 ? [`  (hand-outs 1 to ${first - 1} are no longer told)`] : []
  return ['It was handed out:', ...missing, ...history.map(handOutLine)]
}

function handOutLine({ handOut, attempt, server, startedAt, endedAt, outcome, status, detail }: AttemptRecord): string {
  const where = server === undefined || server === '' ? '' : ` to ${shown(server)}`
  const counted = attempt === undefined ? 'no attempt' : `attempt ${attempt}`
  const answer = status === undefined ? '' : ` ${status}`
  const why = detail === undefined ? '' : `: ${shownText(detail)}`
  return `  ${handOut}. ${timeText(startedAt)}${where}, ended after ${spanText(Math.max(0, endedAt - startedAt))} (${counted}): ${OUTCOMES[outcome] ?? shown(outcome)}${answer}${why}`
}

const OUTCOMES: Readonly<Record<string, string>> = {
  lease_lapsed: 'nobody told in time how it ended (lease_lapsed)',
  gateway_stopped: 'the gateway stopped meanwhile, so it went back to the line (gateway_stopped)',
  handed_back: 'handed back to the line',
}

// --- what is

function presentOf(facts: WhyFacts): Present {
  switch (facts.job.status) {
    case 'queued':
    case 'retrying':
      return waiting(facts)
    case 'running':
      return running(facts)
    case 'succeeded':
      return succeeded(facts)
    case 'cancelled':
      return { now: [`It was cancelled ${endedAgo(facts)}. ${begun(facts.job)}`], todo: [] }
    case 'failed':
    case 'expired':
      return facts.job.dead === undefined ? failed(facts) : dead(facts)
  }
}

function waiting(facts: WhyFacts): Present {
  const { job, now, queue } = facts
  const reasons = [...pausedReason(facts), ...timeReason(facts), ...keyReason(facts)]
  // What servers and rules say, and its place, matter only for a job that could go.
  const mayGo = reasons.length === 0
  if (reasons.length === 0) reasons.push(...capacityReasons(facts))
  const place = mayGo ? positionText(facts) : ''
  const lines = reasons.map(({ says }) => says)
  const waits =
    lines.length === 0
      ? [`Nothing that can be seen holds it: it should be handed out at any moment.`]
      : [`It waits: ${lines[0]}`, ...lines.slice(1).map((line) => `And: ${line}`)]
  if (place !== '') waits.push(place)
  if (job.expiresAt !== undefined && job.attempt === 0)
    waits.push(`If no server takes it before ${timeText(job.expiresAt)} (in ${until(job.expiresAt, now)}), it expires.`)
  if (job.deadlineAt !== undefined)
    waits.push(`If it is not done by ${timeText(job.deadlineAt)} (in ${until(job.deadlineAt, now)}), it becomes a dead letter.`)
  const todo = reasons.flatMap((reason) => reason.todo)
  if (queue === undefined || reasons.length === 0) todo.push(['spillway status'], [`spillway jobs follow ${job.id}`])
  todo.push([`spillway jobs cancel ${job.id}`, 'if it is not wanted any more'])
  return { now: waits, todo }
}

interface Reason {
  readonly says: string
  readonly todo: readonly Todo[]
}

function pausedReason({ queue }: WhyFacts): readonly Reason[] {
  if (queue?.paused !== true) return []
  return [
    {
      says: `queue ${shown(queue.name)} is paused, so nothing of it is handed out.`,
      todo: [[`spillway queues resume ${shellWord(queue.name)}`]],
    },
  ]
}

function timeReason({ job, now }: WhyFacts): readonly Reason[] {
  const { notBefore, handOuts, error } = job
  if (notBefore === undefined || notBefore <= now) return []
  const due = `not before ${timeText(notBefore)} (in ${until(notBefore, now)})`
  if (handOuts === 0) return [{ says: `it was sent with a delay: ${due}.`, todo: [] }]
  const after = error === undefined ? '' : `, because the last hand-out failed: ${errorText(error)}`
  return [{ says: `it is tried again ${due}${after}.`, todo: [] }]
}

function keyReason({ job, blocker, now }: WhyFacts): readonly Reason[] {
  const { blockedBy, queue } = job
  if (blockedBy === undefined) return []
  const key = job.key ?? ''
  const why = `spillway why ${blockedBy}`
  if (blocker === undefined) return [{ says: `job ${blockedBy} of the same key comes first.`, todo: [[why]] }]
  if (blocker.blocksKey) {
    return [
      {
        says: `job ${blockedBy} failed (${shown(blocker.dead ?? blocker.error?.code ?? 'for good')}) and holds their key ${shown(key)} until somebody releases it.`,
        todo: [
          [why, 'what happened to it'],
          [`spillway jobs redrive ${blockedBy}`, 'to try it again, or'],
          [releaseCommand(queue, key), 'to go on without it'],
        ],
      },
    ]
  }
  const state =
    blocker.status === 'running'
      ? `runs on ${serverText(blocker)}${blocker.attemptAt === undefined ? '' : ` since ${until(now, blocker.attemptAt)}`}`
      : `is ${blocker.status}`
  return [{ says: `job ${blockedBy} of the same key ${shown(key)} comes first, and it ${state}.`, todo: [[why]] }]
}

function capacityReasons(facts: WhyFacts): readonly Reason[] {
  const { queue, pool } = facts
  const rules = queue === undefined ? [] : ruleReasons(facts, queue)
  if (pool !== undefined) return [...poolReasons(pool, queue), ...rules]
  if (queue === undefined || queue.pool !== undefined) return rules
  const running = queue.counts['running'] ?? 0
  const says =
    running === 0
      ? `pull consumers work off queue ${shown(queue.name)}, and none of them has a job now.`
      : `the pull consumers have ${plural(running, 'job')}, and have not asked for this one yet.`
  return [{ says, todo: [['see whether the consumers run, and what they say']] }, ...rules]
}

function poolReasons(pool: PoolStatus, queue: QueueFacts | undefined): readonly Reason[] {
  const name = shown(pool.name)
  const up = pool.servers.filter(({ state }) => state === 'up')
  if (up.length === 0) {
    const servers = pool.servers.map(
      (server) => `${server.name} ${server.state}${(server.reason ?? '') === '' ? '' : ` (${shownText(server.reason ?? '')})`}`,
    )
    return [
      {
        says: servers.length === 0 ? `pool ${name} has no server now.` : `no server of pool ${name} is up: ${servers.join(', ')}.`,
        todo: [['bring a server back; the job is kept'], ['spillway status']],
      },
    ]
  }
  if (up.every(({ restsMs = 0 }) => restsMs > 0)) {
    const soonest = Math.min(...up.map(({ restsMs = 0 }) => restsMs))
    return [
      {
        says: `every server of pool ${name} that is up answered 429 or 503 and rests; the first goes on in ${spanText(soonest)}.`,
        todo: [['look at what the servers wait for']],
      },
    ]
  }
  if (up.every(({ inFlight }) => inFlight >= pool.maxInFlight)) {
    return [
      {
        says: `every server of pool ${name} that is up has its maxInFlight of ${plural(pool.maxInFlight, 'request')}.`,
        todo: [[`add servers, or raise pools.${pool.name}.maxInFlight`]],
      },
    ]
  }
  const { concurrency } = queue ?? {}
  const running = queue?.counts['running'] ?? 0
  if (queue === undefined || concurrency === undefined || running < concurrency * up.length) return []
  return [
    {
      says: `all ${concurrency * up.length} places of the queue are taken (${concurrency} on each of ${plural(up.length, 'server')}).`,
      todo: [[`add servers, or raise queues.${queue.name}.concurrency`]],
    },
  ]
}

function ruleReasons({ job }: WhyFacts, { name, rules, counts }: QueueFacts): readonly Reason[] {
  const { maxRunning, rate, keyRate, tenantMaxRunning } = rules
  const reasons: Reason[] = []
  const running = counts['running'] ?? 0
  if (maxRunning !== undefined && running >= maxRunning) {
    reasons.push({
      says: `${plural(running, 'job')} of the queue run, and maxRunning allows ${maxRunning}.`,
      todo: [[`queues.${name}.maxRunning raises it`]],
    })
  }
  if (rate !== undefined) reasons.push({ says: `the queue hands out at most ${rateText(rate)}.`, todo: [] })
  if (keyRate !== undefined && job.key !== undefined) reasons.push({ says: `each key gets at most ${rateText(keyRate)}.`, todo: [] })
  if (tenantMaxRunning !== undefined && job.tenant !== undefined) {
    reasons.push({ says: `at most ${plural(tenantMaxRunning, 'job')} of a tenant run at once.`, todo: [] })
  }
  return reasons
}

function rateText({ count, perMs }: { readonly count: number; readonly perMs: Millis }): string {
  return perMs === 1000 ? `${count} a second` : `${count} in ${spanText(perMs)}`
}

function positionText({ job, queue }: WhyFacts): string {
  if (job.position === undefined) return ''
  const perSecond = queue?.drainPerSecond ?? 0
  const eta = perSecond > 0 ? `, about ${spanText((job.position / perSecond) * 1000)} at the pace of now` : ''
  return `It is number ${job.position} in the line${eta}.`
}

function running({ job, now, queue }: WhyFacts): Present {
  const lines = job.deferredUntil === undefined ? attemptLines(job, now, queue) : deferredLines(job, job.deferredUntil, now)
  if (job.progress !== undefined) lines.push(`Its server said last: ${shownText(JSON.stringify(job.progress))}`)
  return {
    now: lines,
    todo: [
      [`spillway jobs follow ${job.id}`, 'until it ends'],
      [`spillway jobs cancel ${job.id}`, 'breaks it off; it may have taken effect'],
    ],
  }
}

function nextLines({ next }: JobFacts): readonly string[] {
  if (next === undefined) return []
  if ('id' in next) return [`Its result went on as job ${shown(next.id)}.`]
  return [`Its chain stops here: ${shownText(next.detail)}. The result is kept; send it on by hand if it is wanted.`]
}

function attemptLines(job: JobFacts, now: number, queue: QueueFacts | undefined): string[] {
  const forMs = job.attemptAt === undefined ? undefined : Math.max(0, now - job.attemptAt)
  const since = forMs === undefined ? '' : ` since ${spanText(forMs)}`
  const limit = queue?.timeoutMs === undefined ? '' : `; an attempt may take ${spanText(queue.timeoutMs)}`
  const lines = [`It runs on ${serverText(job)}${since}, as attempt ${job.attempt} of ${job.attempts}${limit}.`]
  if (queue?.timeoutMs !== undefined && forMs !== undefined && forMs > queue.timeoutMs)
    lines.push('That is longer than it may: a consumer extends its lease, or the gateway is about to end it.')
  return lines
}

function deferredLines(job: JobFacts, deferredUntil: number, now: number): string[] {
  return [
    `${serverText(job)} has deferred it, as attempt ${job.attempt} of ${job.attempts}: it goes on by itself and reports the end.`,
    `If it does not by ${timeText(deferredUntil)} (in ${until(deferredUntil, now)}), that was an attempt that took too long.`,
  ]
}

function succeeded(facts: WhyFacts): Present {
  const { job } = facts
  const took = job.finishedAt === undefined ? '' : `, ${spanText(Math.max(0, job.finishedAt - job.submittedAt))} after it came`
  return {
    now: [`It succeeded ${endedAgo(facts)}${took}.`, ...nextLines(job)],
    todo: job.resultBytes === undefined ? [] : [[`spillway jobs show ${job.id}`, 'what the server answered']],
  }
}

function failed(facts: WhyFacts): Present {
  const { job } = facts
  return {
    now: [
      `It failed for good ${endedAgo(facts)}: ${job.error === undefined ? 'its server refused it' : errorText(job.error)}.`,
      'That answer is its result; it is no dead letter, so it is not run again.',
      ...blocks(job),
    ],
    todo: [[`spillway jobs show ${job.id}`, 'the request and the answer'], ...releaseTodo(job)],
  }
}

/** What a dead letter means, and what a person has to decide. */
const DEAD: Readonly<Record<string, { readonly says: string; readonly first: string }>> = {
  attempts: { says: 'all its attempts failed', first: 'when what made them fail is mended' },
  poison: { says: 'it was handed out again and again without being done', first: 'when the servers take work again' },
  expired: {
    says: 'no server took it before it expired',
    first: 'if it is still worth doing; expireAfter of the queue decides how long it may wait',
  },
  deadline: { says: 'it was not done by its deadline', first: 'if it is still worth doing' },
  outcome_unknown: {
    says: 'an attempt ended without anybody seeing how, and sending it again is not safe',
    first: "only after its server's own data says that it was not done",
  },
  unauthorized: {
    says: 'a server refused its credentials',
    first: 'as it is when its server knows them again; or with others: `headers` of a redrive in the queue API',
  },
  answer_broken: {
    says: 'its answer broke off after a client may have seen a part of it, and its route says onPartial: fail',
    first: 'if its server may do it again',
  },
  overflow: { says: 'the queue was full, and it was the oldest that waited', first: 'when the queue has room' },
  corrupt: { says: 'what is stored of it failed its checks', first: 'only with another request; see docs/runbook/store-corrupt.md' },
}

function dead(facts: WhyFacts): Present {
  const { job } = facts
  const meaning = DEAD[job.dead ?? ''] ?? { says: `it was given up (${shown(job.dead ?? '')})`, first: 'when the cause is mended' }
  const last = job.error === undefined ? '' : ` The last word: ${errorText(job.error)}.`
  return {
    now: [`It is a dead letter since ${endedAgo(facts)}: ${meaning.says}.${last}`, ...blocks(job)],
    todo: [
      [`spillway jobs show ${job.id}`, 'the request and the last answer'],
      [`spillway jobs redrive ${job.id}`, `${meaning.first}`],
      [`spillway jobs list ${shellWord(job.queue)} --dead=${shellWord(job.dead ?? '')}`, 'others like it'],
      ...releaseTodo(job),
    ],
  }
}

function blocks({ blocksKey, key = '' }: JobFacts): readonly string[] {
  return blocksKey ? [`It holds its key ${shown(key)}: the jobs behind it wait until it is run again or the key is released.`] : []
}

function releaseTodo({ blocksKey, queue, key = '' }: JobFacts): readonly Todo[] {
  return blocksKey ? [[releaseCommand(queue, key), 'to go on without it']] : []
}

function begun({ handOuts }: JobFacts): string {
  return handOuts === 0 ? 'No server had seen it.' : 'A server had seen it before: what it did there is not undone.'
}

function errorText({ code, detail, status }: NonNullable<JobFacts['error']>): string {
  const title = Object.hasOwn(ERRORS, code) ? ERRORS[code as keyof typeof ERRORS].title : undefined
  const said = shownText(detail ?? title ?? '').replace(/\.$/, '')
  return `${shown(code)}${status === undefined ? '' : ` ${status}`}${said === '' ? '' : `, ${said}`}`
}

function serverText({ server }: JobFacts): string {
  return server === undefined || server === '' ? 'a server' : shown(server)
}

function endedAgo({ job, now }: WhyFacts): string {
  return job.finishedAt === undefined ? 'a while ago' : ago(job.finishedAt, now)
}

function ago(at: number, now: number): string {
  return `${timeText(at)} (${spanText(Math.max(0, now - at))} ago)`
}

function until(at: number, now: number): string {
  return spanText(Math.max(0, at - now))
}

/** A sentence of somebody else's, in one line. */
function shownText(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]+/gu, ' ')
}
