/** `spillway queues`: which queues there are and how they are, and whether they hand out. */
import { spanText } from '../../telemetry/event-text.ts'
import { type Arguments, type Command, complain, EXIT, type ExitCode, type Io } from '../command.ts'
import type { CommandGroup } from '../command-group.ts'
import { sizeText } from '../doctor/finding.ts'
import { listOf, type QueueFacts, queueFacts } from '../job-facts.ts'
import { connect, CONNECTION_DETAILS, CONNECTION_OPTIONS, JSON_OPTION, segment } from '../queue-api.ts'
import { shellWord, shown, table } from '../words.ts'

const OPTIONS = { ...CONNECTION_OPTIONS, json: JSON_OPTION }

const list: Command = {
  name: 'queues list',
  positionals: [],
  summary: 'All queues with what they hold, one line each.',
  details: CONNECTION_DETAILS,
  options: OPTIONS,
  async run(args, io) {
    const api = await connect(args, io, 'queues list')
    if (api === undefined) return EXIT.usage
    const told = await api.get('queues')
    if ('wrong' in told) return complain(io, 'queues list', told.wrong)
    const queues = listOf(told.value.document, 'queues', queueFacts)
    io.out(args.has('json') ? `${told.value.text}\n` : queuesText(queues))
    return EXIT.ok
  },
}

const show: Command = {
  name: 'queues show',
  positionals: ['QUEUE'],
  summary: 'One queue: what it holds, its limits and rules, and which server owns how many of its buckets.',
  details: CONNECTION_DETAILS,
  options: OPTIONS,
  async run(args, io) {
    const name = args.positionals[0] ?? ''
    const api = await connect(args, io, 'queues show')
    if (api === undefined) return EXIT.usage
    const told = await api.get(`queues/${segment(name)}`)
    if ('wrong' in told) return complain(io, 'queues show', `queue ${shown(name)}: ${told.wrong}`)
    const queue = queueFacts(told.value.document)
    if (queue === undefined) return complain(io, 'queues show', `what ${api.admin.url} tells of it is no queue`)
    io.out(args.has('json') ? `${told.value.text}\n` : `${queueLines(queue).join('\n')}\n`)
    return EXIT.ok
  },
}

const pause: Command = {
  name: 'queues pause',
  positionals: ['QUEUE'],
  summary: 'Nothing of it is handed out until it is resumed, over restarts too. Jobs are accepted all the same; what runs goes on.',
  details: CONNECTION_DETAILS,
  options: OPTIONS,
  run: (args, io) => pauseOrResume(args, io, 'pause'),
}

const resume: Command = {
  name: 'queues resume',
  positionals: ['QUEUE'],
  summary: 'A paused queue hands out again.',
  details: CONNECTION_DETAILS,
  options: OPTIONS,
  run: (args, io) => pauseOrResume(args, io, 'resume'),
}

export const queuesGroup: CommandGroup = {
  name: 'queues',
  summary: 'Queues: list, show, pause, resume.',
  commands: [list, show, pause, resume],
  fallback: list,
}

async function pauseOrResume(args: Arguments, io: Io, what: 'pause' | 'resume'): Promise<ExitCode> {
  const name = args.positionals[0] ?? ''
  const api = await connect(args, io, `queues ${what}`)
  if (api === undefined) return EXIT.usage
  const told = await api.post(`queues/${segment(name)}/${what}`)
  if ('wrong' in told) return complain(io, `queues ${what}`, `queue ${shown(name)}: ${told.wrong}`)
  const says = what === 'pause' ? `is paused; again with: spillway queues resume ${shellWord(name)}` : 'hands out again'
  io.out(args.has('json') ? `${told.value.text}\n` : `queue ${shown(name)} ${says}\n`)
  return EXIT.ok
}

/** For people: what waits, runs and is dead; and what holds a queue up. */
function queuesText(queues: readonly QueueFacts[]): string {
  if (queues.length === 0) return 'there are no queues\n'
  const rows = queues.map((queue) => [
    shown(queue.name),
    queue.pool === undefined ? 'pull' : shown(queue.pool),
    ...['queued', 'running', 'retrying'].map((status) => String(queue.counts[status] ?? 0)),
    String(deadOf(queue)),
    queue.oldestWaitingMs === undefined ? '-' : spanText(queue.oldestWaitingMs),
    notes(queue),
  ])
  return `${table([['QUEUE', 'POOL', 'QUEUED', 'RUNNING', 'RETRYING', 'DEAD', 'OLDEST', ''], ...rows]).join('\n')}\n`
}

function deadOf({ dead }: QueueFacts): number {
  return Object.values(dead).reduce((sum, count) => sum + count, 0)
}

function notes({ paused, blockedKeys, scheduled }: QueueFacts): string {
  const parts = []
  if (paused) parts.push('paused')
  if (blockedKeys > 0) parts.push(`${blockedKeys} blocked ${blockedKeys === 1 ? 'key' : 'keys'}`)
  if (scheduled > 0) parts.push(`${scheduled} wait for time`)
  return parts.join(', ')
}

function queueLines(queue: QueueFacts): readonly string[] {
  const { name, pool, counts, dead, buckets, limits, rules, bytes, drainPerSecond = 0, timeoutMs } = queue
  const pairs = (record: Readonly<Record<string, unknown>>): string =>
    Object.entries(record)
      .filter(([, value]) => value !== undefined && value !== 0)
      .map(([key, value]) => `${shown(key)} ${typeof value === 'string' ? shown(value) : JSON.stringify(value)}`)
      .join(', ')
  const rows = [
    ['queue', shown(name)],
    ['worked off by', pool === undefined ? 'pull consumers' : `pool ${shown(pool)}`],
    ['state', [queue.paused ? 'paused' : 'hands out', notes({ ...queue, paused: false })].filter((part) => part !== '').join(', ')],
    ['jobs', pairs(counts) || 'none'],
    ['dead letters', pairs(dead) || 'none'],
    ['bytes', sizeText(bytes)],
    ['oldest waits', queue.oldestWaitingMs === undefined ? '-' : spanText(queue.oldestWaitingMs)],
    ['ended lately', `${drainPerSecond}/s`],
    ['one attempt', timeoutMs === undefined ? '-' : spanText(timeoutMs)],
    ['limits', pairs(limits) || '-'],
    ['rules', pairs(rules) || '-'],
    ['buckets', pairs(buckets) || '-'],
    ['defined in', queue.definedIn],
  ]
  return table(rows)
}
