/** `spillway schedules` and `spillway topics`: what makes jobs by the clock, and what one job is copied to. */
import { isMapping } from '../../lib/mapping.ts'
import { type Command, complain, EXIT } from '../command.ts'
import type { CommandGroup } from '../command-group.ts'
import { listOf, numberOf, textOf, timeOf } from '../job-facts.ts'
import { connect, CONNECTION_DETAILS, CONNECTION_OPTIONS, JSON_OPTION } from '../queue-api.ts'
import { shown, table, timeText } from '../words.ts'

const listSchedules: Command = listCommand(
  'schedules',
  'All schedules: when they are due next, what they made, and what went wrong last.',
  schedulesText,
)
const listTopics: Command = listCommand('topics', 'All topics with their subscriptions and the queues that these fill.', topicsText)

export const schedulesGroup: CommandGroup = {
  name: 'schedules',
  summary: 'Schedules: list.',
  commands: [listSchedules],
  fallback: listSchedules,
}
export const topicsGroup: CommandGroup = { name: 'topics', summary: 'Topics: list.', commands: [listTopics], fallback: listTopics }

function listCommand(what: 'schedules' | 'topics', summary: string, text: (document: unknown) => string): Command {
  const name = `${what} list`
  return {
    name,
    positionals: [],
    summary,
    details: CONNECTION_DETAILS,
    options: { ...CONNECTION_OPTIONS, json: JSON_OPTION },
    async run(args, io) {
      const api = await connect(args, io, name)
      if (api === undefined) return EXIT.usage
      const told = await api.get(what)
      if ('wrong' in told) return complain(io, name, told.wrong)
      io.out(args.has('json') ? `${told.value.text}\n` : text(told.value.document))
      return EXIT.ok
    },
  }
}

function schedulesText(document: unknown): string {
  const rows = listOf(document, 'schedules', scheduleRow)
  if (rows.length === 0) return 'there are no schedules\n'
  return `${table([['SCHEDULE', 'QUEUE', 'WHEN', 'NEXT', 'LAST JOB', 'MADE', ''], ...rows]).join('\n')}\n`
}

function scheduleRow(value: unknown): readonly string[] | undefined {
  if (!isMapping(value) || typeof value['name'] !== 'string') return undefined
  const { name, queue, cron, timeZone, every, everyMs, nextAt, lastJob, made, missedCount, paused, lastProblem } = value
  const when = typeof cron === 'string' ? `${cron} ${textOf(timeZone) ?? ''}` : `every ${textOf(every) ?? `${numberOf(everyMs) ?? 0} ms`}`
  const next = timeOf(nextAt)
  const notes = []
  if (paused === true) notes.push('paused')
  if ((numberOf(missedCount) ?? 0) > 0) notes.push(`${numberOf(missedCount) ?? 0} missed`)
  if (typeof lastProblem === 'string') notes.push(shown(lastProblem))
  return [
    shown(name),
    shown(textOf(queue) ?? ''),
    when.trim(),
    next === undefined ? '-' : timeText(next),
    textOf(lastJob) ?? '-',
    String(numberOf(made) ?? 0),
    notes.join(', '),
  ]
}

function topicsText(document: unknown): string {
  const rows = listOf(document, 'topics', topicRows).flat()
  if (rows.length === 0) return 'there are no topics\n'
  return `${table([['TOPIC', 'SUBSCRIPTION', 'QUEUE', 'FILTER'], ...rows]).join('\n')}\n`
}

function topicRows(value: unknown): readonly (readonly string[])[] | undefined {
  if (!isMapping(value) || typeof value['name'] !== 'string') return undefined
  const topic = shown(value['name'])
  const subscriptions = listOf(value, 'subscriptions', (subscription) => {
    if (!isMapping(subscription)) return undefined
    const { name, queue, filter } = subscription
    return [topic, shown(textOf(name) ?? ''), shown(textOf(queue) ?? ''), filter === undefined ? 'all' : JSON.stringify(filter)]
  })
  return subscriptions.length === 0 ? [[topic, '-', '-', '-']] : subscriptions
}
