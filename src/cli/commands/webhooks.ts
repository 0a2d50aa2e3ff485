/** `spillway webhooks`: who is told when jobs end, how that goes, and what to do where it does not. */
import { isMapping } from '../../lib/mapping.ts'
import type { Told } from '../admin-client.ts'
import { type Arguments, type Command, complain, EXIT, type ExitCode, type Io, type OptionSpec } from '../command.ts'
import type { CommandGroup } from '../command-group.ts'
import { listOf, numberOf, textOf, timeOf } from '../job-facts.ts'
import { type Answer, connect, CONNECTION_DETAILS, CONNECTION_OPTIONS, JSON_OPTION, type QueueApi, segment } from '../queue-api.ts'
import { plural, shown, table, timeText } from '../words.ts'
import { timeArgument } from './jobs-list.ts'

const DELIVERIES = '20'
const SINCE: OptionSpec = { type: 'string', value: 'TIME', help: 'accepted then or later: 1h (ago), or 2030-01-01T00:00:00Z' }

interface Parts {
  readonly name: string
  readonly positionals?: readonly string[]
  readonly summary: string
  readonly details?: string
  readonly options?: Readonly<Record<string, OptionSpec>>
  readonly ask: (api: QueueApi, args: Arguments) => Promise<Told<Answer>>
  readonly text: (document: unknown, args: Arguments) => string
}

/** One question, one answer. */
function command({ name, positionals = ['ENDPOINT'], summary, details, options = {}, ask, text }: Parts): Command {
  return {
    name,
    positionals,
    summary,
    details: details === undefined ? CONNECTION_DETAILS : `${details}\n${CONNECTION_DETAILS}`,
    options: { ...CONNECTION_OPTIONS, ...options, json: JSON_OPTION },
    async run(args, io): Promise<ExitCode> {
      const api = await connect(args, io, name)
      if (api === undefined) return EXIT.usage
      const told = await ask(api, args)
      if ('wrong' in told) return complain(io, name, told.wrong)
      io.out(args.has('json') ? `${told.value.text}\n` : text(told.value.document, args))
      return EXIT.ok
    },
  }
}

const pathOf = (args: Arguments, rest = ''): string => `webhooks/${segment(args.positionals[0] ?? '')}${rest}`

const list = command({
  name: 'webhooks list',
  positionals: [],
  summary: 'All webhook endpoints: where they are, what they ask for, and whether they take it.',
  ask: (api) => api.get('webhooks'),
  text: listText,
})

const show = command({
  name: 'webhooks show',
  summary: 'One endpoint, and the last webhooks that were for it.',
  details: `Each of them is a job: spillway jobs show <webhook> tells its attempts and what was answered.`,
  options: { limit: { type: 'string', value: 'COUNT', help: `show so many webhooks (default: ${DELIVERIES})` } },
  ask: async (api, args) => {
    const endpoint = await api.get(pathOf(args))
    if ('wrong' in endpoint) return endpoint
    const told = await api.get(pathOf(args, '/deliveries'), { limit: args.text('limit') ?? DELIVERIES })
    if ('wrong' in told) return told
    const document = { ...(endpoint.value.document as object), ...(told.value.document as object) }
    return { value: { ...told.value, document, text: JSON.stringify(document) } }
  },
  text: showText,
})

const enable = command({
  name: 'webhooks enable',
  summary: 'An endpoint that was disabled is sent to again. What it has missed is sent by: spillway webhooks replay ENDPOINT',
  ask: (api, args) => api.post(pathOf(args, '/enable')),
  text: (_, args) => `${shown(args.positionals[0] ?? '')} is enabled\n`,
})

const disable = command({
  name: 'webhooks disable',
  summary: 'Nothing is sent to the endpoint any more; what is for it becomes dead letters, until it is enabled.',
  ask: (api, args) => api.post(pathOf(args, '/disable')),
  text: (_, args) => `${shown(args.positionals[0] ?? '')} is disabled\n`,
})

const sendTest = command({
  name: 'webhooks test',
  summary: 'Send a webhook of the type webhook.test, also to an endpoint that is disabled.',
  ask: (api, args) => api.post(pathOf(args, '/test')),
  text: sentText,
})

const resend = command({
  name: 'webhooks resend',
  positionals: ['ENDPOINT', 'WEBHOOK'],
  summary: 'One webhook goes out again, under the id that it had, whether it was delivered or given up.',
  ask: (api, args) => api.post(pathOf(args, '/resend'), { webhook: args.positionals[1] }),
  text: sentText,
})

const rotate = command({
  name: 'webhooks rotate',
  summary: 'New secrets for an endpoint that was made over the API. They are shown now, and never again; the old ones sign on for 24 h.',
  options: { overlap: { type: 'string', value: 'SPAN', help: 'how long the old ones sign on (default: 24h)' } },
  ask: (api, args) => api.post(pathOf(args, '/rotate'), args.has('overlap') ? { overlap: args.text('overlap') } : undefined),
  text: (document) => {
    const secrets = isMapping(document) && Array.isArray(document['newSecrets']) ? (document['newSecrets'] as readonly unknown[]) : []
    return `${secrets.map((secret) => textOf(secret) ?? '').join('\n')}\n`
  },
})

const replay: Command = {
  name: 'webhooks replay',
  positionals: ['ENDPOINT'],
  summary: 'What could not be delivered goes out again; with --all everything since a time, whether it was delivered or not.',
  details: `With --all webhooks are made anew of jobs that are still kept. Ids stay, so a receiver knows what it has had.\n${CONNECTION_DETAILS}`,
  options: {
    ...CONNECTION_OPTIONS,
    since: SINCE,
    all: { type: 'boolean', help: 'also what was delivered; needs --since' },
    after: { type: 'string', value: 'PLACE', help: 'with --all: go on where it stopped, as it said then' },
    json: JSON_OPTION,
  },
  async run(args, io) {
    const text = args.text('since')
    const since = text === undefined ? undefined : timeArgument(text, Date.now())
    if (text !== undefined && since === undefined) {
      const why = `--since must be a span such as 1h, or a time such as 2030-01-01T00:00:00Z, not ${JSON.stringify(text)}`
      return complain(io, 'webhooks replay', why, EXIT.usage)
    }
    const api = await connect(args, io, 'webhooks replay')
    if (api === undefined) return EXIT.usage
    return args.has('all') ? replayAll(api, args, io, since) : replayFailed(api, args, io, since)
  },
}

async function replayFailed(api: QueueApi, args: Arguments, io: Io, since: string | undefined): Promise<ExitCode> {
  const told = await api.post(pathOf(args, '/replay'), since === undefined ? {} : { since })
  if ('wrong' in told) return complain(io, 'webhooks replay', told.wrong)
  const task = isMapping(told.value.document) ? numberOf(told.value.document['task']) : undefined
  io.out(args.has('json') ? `${told.value.text}\n` : `what could not be delivered goes out again, by task ${task ?? '?'}\n`)
  return EXIT.ok
}

/** Page by page. */
async function replayAll(api: QueueApi, args: Arguments, io: Io, since: string | undefined): Promise<ExitCode> {
  let sent = 0
  for (let after = args.text('after'); ; ) {
    const told = await api.post(pathOf(args, '/replay'), { all: true, since, after })
    if ('wrong' in told) {
      // By the time itself: a span would mean another one then.
      const rest =
        after === undefined ? '' : `; ${plural(sent, 'webhook')} had gone out; the others: --all --since ${since ?? ''} --after ${after}`
      return complain(io, 'webhooks replay', `${told.wrong}${rest}`)
    }
    const page = isMapping(told.value.document) ? told.value.document : {}
    sent += numberOf(page['sent']) ?? 0
    after = textOf(page['next'])
    if (after === undefined) break
  }
  io.out(args.has('json') ? `${JSON.stringify({ sent })}\n` : `${plural(sent, 'webhook')} ${sent === 1 ? 'goes' : 'go'} out again\n`)
  return EXIT.ok
}

export const webhooksGroup: CommandGroup = {
  name: 'webhooks',
  summary: 'Webhook endpoints: list, show, enable, disable, test, resend, replay, rotate.',
  commands: [list, show, enable, disable, sendTest, resend, replay, rotate],
  fallback: list,
}

function sentText(document: unknown): string {
  const webhook = isMapping(document) ? (textOf(document['webhook']) ?? '') : ''
  return `webhook ${webhook} is on its way; what becomes of it: spillway jobs show ${webhook}\n`
}

function listText(document: unknown): string {
  const rows = listOf(document, 'endpoints', (value) => {
    if (!isMapping(value) || typeof value['name'] !== 'string') return undefined
    const { name, url, events, queues } = value
    return [shown(name), stateText(value), textsOf(events), queues === undefined ? 'all' : textsOf(queues), shown(textOf(url) ?? '')]
  })
  if (rows.length === 0) return 'there are no webhook endpoints\n'
  return `${table([['ENDPOINT', 'STATE', 'EVENTS', 'QUEUES', 'URL'], ...rows]).join('\n')}\n`
}

function stateText({ enabled, failingSince }: Readonly<Record<string, unknown>>): string {
  if (enabled === false) return 'disabled'
  const since = timeOf(failingSince)
  return since === undefined ? 'ok' : `failing since ${timeText(since)}`
}

function textsOf(value: unknown): string {
  return Array.isArray(value) ? value.map((each) => shown(textOf(each) ?? '')).join(',') : ''
}

function showText(document: unknown): string {
  if (!isMapping(document)) return ''
  const { name, url, events, queues, routes, order, headers, disabledBecause, secrets } = document
  const signs = Array.isArray(secrets) ? secrets.map((each) => (isMapping(each) ? secretText(each) : '')).join(', ') : ''
  const facts = [
    ['endpoint', shown(textOf(name) ?? '')],
    ['url', shown(textOf(url) ?? '')],
    ['state', `${stateText(document)}${disabledBecause === undefined ? '' : `: ${textOf(disabledBecause) ?? ''}`}`],
    ['events', textsOf(events)],
    ['queues', queues === undefined ? 'all' : textsOf(queues)],
    ['routes', routes === undefined ? 'all' : textsOf(routes)],
    ['order', textOf(order) ?? ''],
    ['headers', textsOf(headers) || 'none'],
    ['signed by', signs],
  ]
  const rows = listOf(document, 'deliveries', deliveryRow)
  const deliveries =
    rows.length === 0 ? ['nothing was for it yet'] : table([['WEBHOOK', 'STATUS', 'ATTEMPT', 'SUBMITTED', 'NEXT', ''], ...rows])
  return `${table(facts).join('\n')}\n\n${deliveries.join('\n')}\n`
}

function secretText({ signature, publicKey, until }: Readonly<Record<string, unknown>>): string {
  const at = timeOf(until)
  const key = textOf(publicKey)
  return `${textOf(signature) ?? ''}${key === undefined ? '' : ` (${key})`}${at === undefined ? '' : ` until ${timeText(at)}`}`
}

function deliveryRow(value: unknown): readonly string[] | undefined {
  if (!isMapping(value) || typeof value['webhook'] !== 'string') return undefined
  const { webhook, status, attempt, attempts, submittedAt, nextAt, dead, error } = value
  const [at, next] = [timeOf(submittedAt), timeOf(nextAt)]
  const why = isMapping(error) ? (textOf(error['detail']) ?? '') : ''
  return [
    webhook,
    dead === undefined ? (textOf(status) ?? '') : `dead: ${textOf(dead) ?? ''}`,
    `${numberOf(attempt) ?? 0}/${numberOf(attempts) ?? 0}`,
    at === undefined ? '-' : timeText(at),
    next === undefined ? '-' : timeText(next),
    shown(why) === '""' ? '' : why.replaceAll(/\p{C}/gu, ' '),
  ]
}
