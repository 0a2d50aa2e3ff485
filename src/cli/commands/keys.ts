/** `spillway keys`: keys whose jobs wait, because one of them failed and the queue says `onFailure: block`. */
import { isMapping } from '../../lib/mapping.ts'
import { type Command, complain, EXIT } from '../command.ts'
import type { CommandGroup } from '../command-group.ts'
import { listOf, numberOf, queueFacts, textOf } from '../job-facts.ts'
import {
  connect,
  CONNECTION_DETAILS,
  CONNECTION_OPTIONS,
  JSON_OPTION,
  QUEUE_OPTION,
  type QueueApi,
  queueNamed,
  segment,
} from '../queue-api.ts'
import { releaseCommand, shown, table } from '../words.ts'

interface HeldKey {
  readonly queue: string
  readonly key: string
  readonly holder: string
  readonly status: string
  readonly blocked: boolean
  readonly waiting: number
}

/** Of one page; what the API gives at most. */
const LIMIT = 1000

const blocked: Command = {
  name: 'keys blocked',
  positionals: ['[QUEUE]'],
  summary: 'Keys that a failed job blocks, of one queue or of all: by which job, and how many wait behind it.',
  details: `At most ${LIMIT} of each queue. A queue blocks keys only where it says onFailure: block.\n${CONNECTION_DETAILS}`,
  options: {
    ...CONNECTION_OPTIONS,
    queue: QUEUE_OPTION,
    all: { type: 'boolean', help: 'also keys that are held by a job that runs or waits' },
    json: JSON_OPTION,
  },
  async run(args, io) {
    const api = await connect(args, io, 'keys blocked')
    if (api === undefined) return EXIT.usage
    const named = queueNamed(args)
    const queues = named === undefined ? await queuesWithKeys(api, args.has('all')) : [named]
    if ('wrong' in queues) return complain(io, 'keys blocked', queues.wrong)
    const keys: HeldKey[] = []
    for (const queue of queues) {
      const held = await api.get(`queues/${segment(queue)}/keys`, { blocked: args.has('all') ? undefined : 'true', limit: String(LIMIT) })
      if ('wrong' in held) return complain(io, 'keys blocked', `queue ${shown(queue)}: ${held.wrong}`)
      keys.push(...listOf(held.value.document, 'keys', (value) => heldKey(queue, value)))
    }
    io.out(args.has('json') ? `${JSON.stringify({ keys }, undefined, 2)}\n` : keysText(keys))
    return EXIT.ok
  },
}

const release: Command = {
  name: 'keys release',
  positionals: ['[QUEUE]', 'KEY'],
  summary: 'A blocked key goes on with its next job; the failed one stays a dead letter.',
  details: `The queue may also be named with --queue.\n${CONNECTION_DETAILS}`,
  options: { ...CONNECTION_OPTIONS, queue: QUEUE_OPTION, json: JSON_OPTION },
  async run(args, io) {
    const key = args.positionals.at(-1) ?? ''
    const queue = args.text('queue') ?? (args.positionals.length > 1 ? args.positionals[0] : undefined)
    if (queue === undefined) {
      io.err('spillway keys release: QUEUE is missing; see: spillway help keys release\n')
      return EXIT.usage
    }
    const api = await connect(args, io, 'keys release')
    if (api === undefined) return EXIT.usage
    const told = await api.post(`queues/${segment(queue)}/keys/release`, { key })
    if ('wrong' in told) return complain(io, 'keys release', `key ${shown(key)} of queue ${shown(queue)}: ${told.wrong}`)
    io.out(args.has('json') ? `${told.value.text}\n` : `key ${shown(key)} of queue ${shown(queue)} goes on\n`)
    return EXIT.ok
  },
}

export const keysGroup: CommandGroup = {
  name: 'keys',
  summary: 'Keys that a failed job blocks: blocked, release.',
  commands: [blocked, release],
  fallback: blocked,
}

async function queuesWithKeys(api: QueueApi, all: boolean): Promise<readonly string[] | { readonly wrong: string }> {
  const told = await api.get('queues')
  if ('wrong' in told) return told
  return listOf(told.value.document, 'queues', queueFacts)
    .filter(({ blockedKeys }) => all || blockedKeys > 0)
    .map(({ name }) => name)
}

function heldKey(queue: string, value: unknown): HeldKey | undefined {
  if (!isMapping(value) || typeof value['key'] !== 'string') return undefined
  const { key, holder, status, blocked: isBlocked, waiting } = value
  return {
    queue,
    key,
    holder: textOf(holder) ?? '',
    status: textOf(status) ?? '',
    blocked: isBlocked === true,
    waiting: numberOf(waiting) ?? 0,
  }
}

function keysText(keys: readonly HeldKey[]): string {
  if (keys.length === 0) return 'no key is blocked\n'
  const rows = keys.map(({ queue, key, holder, status, waiting }) => [shown(queue), shown(key), holder, status, String(waiting)])
  const lines = table([['QUEUE', 'KEY', 'HELD BY', 'WHICH IS', 'WAITING'], ...rows])
  const first = keys.find((key) => key.blocked)
  if (first === undefined) return `${lines.join('\n')}\n`
  const release = releaseCommand(first.queue, first.key)
  const next = `spillway why ${first.holder}, then spillway jobs redrive ${first.holder}, or ${release}`
  return `${lines.join('\n')}\n\nnext, for the first of them: ${next}\n`
}
