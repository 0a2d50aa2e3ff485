/** `spillway jobs show` and `jobs follow`: one job as it is, and as it goes on until it ends. */
import { isMapping } from '../../lib/mapping.ts'
import type { Millis } from '../../lib/units.ts'
import { parseDuration } from '../../lib/duration.ts'
import { spanText } from '../../telemetry/event-text.ts'
import { type Command, complain, EXIT, type ExitCode, type Io } from '../command.ts'
import { sizeText } from '../doctor/finding.ts'
import { historyFacts, type JobFacts, jobFacts, textOf } from '../job-facts.ts'
import { connect, CONNECTION_DETAILS, CONNECTION_OPTIONS, JSON_OPTION, type QueueApi, segment } from '../queue-api.ts'
import { shown, table, timeText } from '../words.ts'
import { stateText } from './jobs-list.ts'
import { jobIdOf } from './why.ts'

/** Of a body, where it is shown to people. */
const BODY_CHARACTERS_MAX = 1000
const FOLLOW_EVERY_MS: Millis = 500
/** So long a gateway may be away, as for a restart, and is asked again. */
const AWAY_MS: Millis = 60_000

export const showJob: Command = {
  name: 'jobs show',
  positionals: ['JOB'],
  summary: 'One job: what is known of it, its request and its result.',
  details: `Bodies are shortened to ${BODY_CHARACTERS_MAX} characters; --json has them whole. Credentials in headers are not shown.\n${CONNECTION_DETAILS}`,
  options: { ...CONNECTION_OPTIONS, json: JSON_OPTION },
  async run(args, io) {
    const id = jobIdOf(args.positionals[0] ?? '')
    const api = await connect(args, io, 'jobs show')
    if (api === undefined) return EXIT.usage
    const told = await api.get(`jobs/${segment(id)}`, { include: 'request,result,history' })
    const job = 'wrong' in told ? undefined : jobFacts(told.value.document)
    if ('wrong' in told || job === undefined)
      return complain(io, 'jobs show', `job ${shown(id)}: ${'wrong' in told ? told.wrong : 'what the gateway tells of it is no job'}`)
    io.out(args.has('json') ? `${told.value.text}\n` : showText(job, told.value.document))
    return EXIT.ok
  },
}

function showText(job: JobFacts, document: unknown): string {
  const time = (at: number | undefined): string | undefined => (at === undefined ? undefined : timeText(at))
  const rows: (readonly [string, string | undefined])[] = [
    ['job', job.id],
    ['queue', shown(job.queue)],
    ['status', [job.status, stateText(job, Date.now())].filter((part) => part !== '').join(', ')],
    ['attempts', `${job.attempt} of ${job.attempts}${job.handOuts > job.attempt ? `, ${job.handOuts} hand-outs` : ''}`],
    ['key', job.key === undefined ? undefined : shown(job.key)],
    ['tenant', job.tenant === undefined ? undefined : shown(job.tenant)],
    ['reference', job.reference === undefined ? undefined : shown(job.reference)],
    ['priority', job.priority === 0 ? undefined : String(job.priority)],
    ['came', `${timeText(job.submittedAt)}${job.route === undefined ? '' : ` by ${shown(job.route)}`}`],
    ['not before', time(job.notBefore)],
    ['deferred until', time(job.deferredUntil)],
    ['expires', time(job.expiresAt)],
    ['deadline', time(job.deadlineAt)],
    ['began', time(job.startedAt)],
    ['ended', time(job.finishedAt)],
    ['error', job.error === undefined ? undefined : shown(job.error.detail ?? job.error.code)],
    ['batch', job.batch === undefined ? undefined : `${shown(job.batch.id)}, number ${job.batch.index + 1} of it`],
    ['made of', job.parent === undefined ? undefined : `the result of ${shown(job.parent)}`],
    ['next', nextText(job)],
    ['progress', job.progress === undefined ? undefined : JSON.stringify(job.progress)],
    ['hand-outs told', String(historyFacts(document).length)],
  ]
  const known = table(rows.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])))
  const parts = isMapping(document) ? [messageText('request', document['request']), messageText('result', document['result'])] : []
  return `${[known.join('\n'), ...parts.filter((part) => part !== '')].join('\n\n')}\n\nthe whole story: spillway why ${job.id}\n`
}

function nextText({ next }: JobFacts): string | undefined {
  if (next === undefined) return undefined
  return 'id' in next ? shown(next.id) : `none: ${shown(next.detail)}`
}

function messageText(what: string, message: unknown): string {
  if (!isMapping(message)) return ''
  const { method, target, status, headers, contentType } = message
  const first = what === 'request' ? `${textOf(method) ?? ''} ${textOf(target) ?? ''}` : `status ${String(status)}`
  const fields = Object.entries(isMapping(headers) ? headers : {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? (value as unknown[]) : [value]).map((one) => `  ${name}: ${oneLine(String(one))}`),
  )
  if (typeof contentType === 'string') fields.push(`  content-type: ${oneLine(contentType)}`)
  return [`${what}: ${first}`, ...fields, ...bodyLines(message)].join('\n')
}

function bodyLines(message: Readonly<Record<string, unknown>>): readonly string[] {
  const { payload, text, base64 } = message
  if (typeof base64 === 'string')
    return ['', `  ${sizeText(Math.floor((base64.length * 3) / 4))} that are no text; --json has them in base64`]
  const body = payload === undefined ? textOf(text) : JSON.stringify(payload, undefined, 2)
  if (body === undefined) return ['  (no body)']
  const left = body.length - BODY_CHARACTERS_MAX
  const lines = body
    .slice(0, BODY_CHARACTERS_MAX)
    .split('\n')
    .map((line) => `  ${oneLine(line)}`)
  return ['', ...lines, ...(left > 0 ? [`  …and ${left} characters more; --json has them`] : [])]
}

/** What clients and servers wrote must not steer the terminal. */
function oneLine(text: string): string {
  return text.replaceAll(/[^\P{C}\t]/gu, '\u{fffd}')
}

export const followJob: Command = {
  name: 'jobs follow',
  positionals: ['JOB'],
  summary: 'Tell what happens to a job until it ends. Exit code 0 when it succeeded, 1 otherwise.',
  details: `A gateway that restarts meanwhile is asked again for ${AWAY_MS / 1000} s.\n${CONNECTION_DETAILS}`,
  options: {
    ...CONNECTION_OPTIONS,
    wait: { type: 'string', value: 'SPAN', help: 'give up after so long, such as 10m, with exit code 1' },
    json: { ...JSON_OPTION, help: 'print the job as the API tells of it, a line for each change' },
  },
  async run(args, io) {
    const id = jobIdOf(args.positionals[0] ?? '')
    const wait = args.text('wait')
    const waitMs = wait === undefined ? Number.POSITIVE_INFINITY : parseDuration(wait)
    if (waitMs === undefined)
      return complain(io, 'jobs follow', `--wait must be a span such as 10m, not ${JSON.stringify(wait)}`, EXIT.usage)
    const api = await connect(args, io, 'jobs follow')
    return api === undefined ? EXIT.usage : await follow({ api, io, id, json: args.has('json') }, waitMs)
  },
}

interface Following {
  readonly api: QueueApi
  readonly io: Io
  readonly id: string
  readonly json: boolean
}

async function follow({ api, io, id, json }: Following, waitMs: Millis): Promise<ExitCode> {
  const begunAt = performance.now()
  let seenAt: number | undefined
  let last = ''
  for (;;) {
    const told = await api.get(`jobs/${segment(id)}`)
    const now = performance.now()
    const job = 'wrong' in told ? undefined : jobFacts(told.value.document)
    if (job === undefined) {
      const wrong = 'wrong' in told ? told.wrong : 'what the gateway tells of it is no job'
      const mayComeBack = seenAt !== undefined && now - seenAt < AWAY_MS && 'wrong' in told && told.absent !== undefined
      if (!mayComeBack) return complain(io, 'jobs follow', `job ${shown(id)}: ${wrong}`)
    } else {
      seenAt = now
      const line = json && !('wrong' in told) ? told.value.text : followLine(job)
      if (line !== last) io.out(`${line}\n`)
      last = line
      if (job.finishedAt !== undefined) return job.status === 'succeeded' ? EXIT.ok : EXIT.failed
    }
    if (now - begunAt > waitMs) return complain(io, 'jobs follow', `job ${shown(id)}: it has not ended within ${spanText(waitMs)}`)
    await new Promise((resolve) => setTimeout(resolve, FOLLOW_EVERY_MS))
  }
}

/** Without ages: a line is told again only when something has changed. */
function followLine(job: JobFacts): string {
  const { id, status, attempt, attempts, progress, notBefore, error } = job
  const parts = [`${id}  ${status}`]
  if (attempt > 0) parts.push(`attempt ${attempt}/${attempts}`)
  if (progress !== undefined) parts.push(JSON.stringify(progress))
  if (status === 'running') parts.push(stateText(job, 0))
  else if (error !== undefined) parts.push(`${shown(error.code)}${error.status === undefined ? '' : ` ${error.status}`}`)
  if ((status === 'queued' || status === 'retrying') && notBefore !== undefined) parts.push(`not before ${timeText(notBefore)}`)
  if (job.dead !== undefined) parts.push(`dead: ${shown(job.dead)}`)
  return parts.filter((part) => part !== '').join('  ')
}
