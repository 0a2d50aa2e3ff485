/** `spillway jobs cancel`, `redrive`, `move`, `forget`, `purge`: mending one job, some, or, as a task of the gateway, all that a filter means. */
import { isMapping } from '../../lib/mapping.ts'
import { parseRate } from '../../lib/rate.ts'
import type { Millis } from '../../lib/units.ts'
import type { Arguments, Command, ExitCode, Io, OptionSpec } from '../command.ts'
import { EXIT } from '../command.ts'
import { type JobFacts, jobFacts, listOf, type TaskFacts, taskFacts } from '../job-facts.ts'
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
import { plural, shown } from '../words.ts'
import { FILTER_OPTIONS, filterQuery } from './jobs-list.ts'
import { jobIdOf } from './why.ts'

const POLL_MS: Millis = 300

const TASK_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  ...CONNECTION_OPTIONS,
  queue: { ...QUEUE_OPTION, help: 'instead of JOB: all of this queue that the filters mean' },
  ...FILTER_OPTIONS,
  all: { type: 'boolean', help: 'with --queue and no filter: really all of them' },
  rate: { type: 'string', value: 'RATE', help: 'at most so many, such as 50/s' },
  detach: { type: 'boolean', help: 'do not wait for the end' },
  json: JSON_OPTION,
}

type Kind = 'cancel' | 'redrive' | 'move' | 'forget'

interface Work {
  readonly kind: Kind
  /** `jobs redrive`. */
  readonly command: string
  readonly one: (api: QueueApi, id: string, args: Arguments) => ReturnType<QueueApi['get']>
  /** Of what became of one job. */
  readonly text: (job: JobFacts) => string
  /** The same where nothing is left of it. */
  readonly plain?: string
}

const CANCEL: Work = {
  kind: 'cancel',
  command: 'jobs cancel',
  one: (api, id) => api.delete(`jobs/${segment(id)}`),
  text: ({ status }) => (status === 'cancelled' ? 'cancelled' : `had ended before: ${status}`),
}

const REDRIVE: Work = {
  kind: 'redrive',
  command: 'jobs redrive',
  one: (api, id, args) => api.post(`jobs/${segment(id)}/redrive`, queueTo(args)),
  text: ({ queue, status }) => `runs again: ${status} in queue ${shown(queue)}`,
}

const MOVE: Work = {
  kind: 'move',
  command: 'jobs move',
  one: (api, id, args) => api.post(`jobs/${segment(id)}/move`, queueTo(args)),
  text: ({ queue, status }) => `${status} in queue ${shown(queue)}`,
}

const FORGET: Work = {
  kind: 'forget',
  command: 'jobs forget',
  one: (api, id) => api.delete(`jobs/${segment(id)}?forget=true`),
  text: () => 'forgotten',
  plain: 'forgotten',
}

function queueTo(args: Arguments): { readonly queue?: string } {
  const to = args.text('to')
  return to === undefined ? {} : { queue: to }
}

const MANY = 'Many are worked off by the gateway in small steps; that goes on when this command is broken off, and after a restart.'

export const cancelJobs: Command = {
  name: 'jobs cancel',
  positionals: ['[JOB…]'],
  summary: 'Cancel jobs by their ids, or those of a queue that filters mean. What runs is broken off and may have taken effect.',
  details: `${MANY}\n${CONNECTION_DETAILS}`,
  options: TASK_OPTIONS,
  run: (args, io) => work(CANCEL, args, io),
}

export const redriveJobs: Command = {
  name: 'jobs redrive',
  positionals: ['[JOB…]'],
  summary: 'Dead letters run again, with all their attempts: by their ids, or those of a queue, such as --queue orders --dead attempts.',
  details: `${MANY}\n${CONNECTION_DETAILS}`,
  options: { ...TASK_OPTIONS, to: { type: 'string', value: 'QUEUE', help: 'in this queue instead of their own' } },
  run: (args, io) => work(REDRIVE, args, io),
}

export const moveJobs: Command = {
  name: 'jobs move',
  positionals: ['[JOB…]'],
  summary: 'Waiting jobs and dead letters go to another queue, by their age: by their ids, or those of a queue that filters mean.',
  details: `${MANY}\n${CONNECTION_DETAILS}`,
  options: { ...TASK_OPTIONS, to: { type: 'string', value: 'QUEUE', help: 'where they go' } },
  run: (args, io) => work(MOVE, args, io),
}

export const forgetJobs: Command = {
  name: 'jobs forget',
  positionals: ['[JOB…]'],
  summary:
    'Jobs that have ended are removed before their time, dead letters too: by their ids, or those of a queue, such as --queue orders --dead.',
  details: `That cannot be undone. What has not ended stays.\n${MANY}\n${CONNECTION_DETAILS}`,
  options: TASK_OPTIONS,
  run: (args, io) => work(FORGET, args, io),
}

/** What is wrong with the arguments together. */
function wrongArguments({ kind }: Work, args: Arguments): string | undefined {
  const { positionals } = args
  const filters = Object.keys(FILTER_OPTIONS).filter((name) => args.has(name))
  if (kind === 'move' && !args.has('to')) return '--to is missing: to which queue?'
  if (args.has('queue')) {
    if (positionals.length > 0) return 'name jobs, or --queue with filters, not both'
    if (filters.length > 0 || args.has('all'))
      return args.has('rate') && parseRate(args.text('rate') ?? '') === undefined ? '--rate must be a rate such as 50/s' : undefined
    return kind === 'redrive' ? 'say which: --dead, --dead=REASON, another filter, or --all' : 'say which, with a filter, or --all'
  }
  if (positionals.length === 0) return 'JOB is missing: name jobs, or --queue with filters'
  const useless = [...filters, ...['all', 'rate', 'detach'].filter((name) => args.has(name))][0]
  return useless === undefined ? undefined : `--${useless} has no meaning without --queue`
}

async function work(what: Work, args: Arguments, io: Io): Promise<ExitCode> {
  const wrong = wrongArguments(what, args)
  const filter = filterQuery(args, Date.now())
  const told = wrong ?? (typeof filter === 'string' ? filter : undefined)
  if (told !== undefined || typeof filter === 'string') {
    io.err(`spillway ${what.command}: ${told ?? ''}\n`)
    return EXIT.usage
  }
  const api = await connect(args, io, what.command)
  if (api === undefined) return EXIT.usage
  const queue = args.text('queue')
  if (queue === undefined) return await oneByOne(what, args, io, api)
  const rate = parseRate(args.text('rate') ?? '')
  const begun = await api.post(`queues/${segment(queue)}/tasks`, {
    kind: what.kind,
    // Only dead letters run again: without a filter all of them are meant.
    filter: { ...filter, ...(what.kind === 'redrive' && filter['dead'] === undefined && { dead: true }) },
    ...(args.has('to') && { to: args.text('to') }),
    ...(rate !== undefined && { perSecond: (rate.count * 1000) / rate.perMs }),
  })
  const task = 'wrong' in begun ? undefined : taskFacts(begun.value.document)
  if (task === undefined) {
    const why = 'wrong' in begun ? begun.wrong : 'the gateway did not tell which task it is'
    io.err(`spillway ${what.command}: queue ${shown(queue)}: ${why}\n`)
    return EXIT.failed
  }
  return await followTasks({ api, io, args, command: what.command }, [task])
}

/** Goes on after one that cannot be done; one of them is enough for exit code 1. */
async function oneByOne(what: Work, args: Arguments, io: Io, api: QueueApi): Promise<ExitCode> {
  const documents: unknown[] = []
  let code: ExitCode = EXIT.ok
  for (const id of args.positionals.map(jobIdOf)) {
    const told = await what.one(api, id, args)
    if ('wrong' in told) {
      io.err(`spillway ${what.command}: job ${shown(id)}: ${told.wrong}\n`)
      code = EXIT.failed
      if (told.absent !== undefined) break
      continue
    }
    documents.push(told.value.document)
    const job = jobFacts(told.value.document)
    if (!args.has('json')) io.out(`job ${shown(id)} ${job === undefined ? (what.plain ?? 'done') : what.text(job)}\n`)
  }
  if (args.has('json')) io.out(`${JSON.stringify({ jobs: documents }, undefined, 2)}\n`)
  return code
}

interface Follower {
  readonly api: QueueApi
  readonly io: Io
  readonly args: Arguments
  readonly command: string
}

/** Tells how far they are until all have ended; a task that is no longer listed has ended long ago. */
async function followTasks({ api, io, args, command }: Follower, begun: readonly TaskFacts[]): Promise<ExitCode> {
  const ids = new Set(begun.map(({ id }) => id))
  const quiet = args.has('json')
  let last = ''
  for (let tasks = begun; ; ) {
    const line = tasks.map(taskText).join('; ')
    if (!quiet && line !== last) io.out(`${line}\n`)
    last = line
    if (args.has('detach') || tasks.every(({ endedAt }) => endedAt !== undefined)) {
      if (quiet) io.out(`${JSON.stringify({ tasks }, undefined, 2)}\n`)
      return tasks.some(({ refused, stopped }) => refused > 0 || stopped) ? EXIT.failed : EXIT.ok
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    const told = await api.get('tasks')
    if ('wrong' in told) {
      io.err(`spillway ${command}: ${told.wrong}; the gateway goes on with it all the same\n`)
      return EXIT.failed
    }
    const now = listOf(told.value.document, 'tasks', taskFacts).filter(({ id }) => ids.has(id))
    tasks = now.length === 0 ? tasks.map((task) => ({ ...task, endedAt: task.endedAt ?? Date.now() })) : now
  }
}

function taskText({ id, kind, done, refused, stopped, endedAt }: TaskFacts): string {
  const state = stopped ? 'stopped' : endedAt === undefined ? 'under way' : 'done'
  return `task ${id}, ${kind}: ${plural(done, 'job')}${refused > 0 ? `, ${refused} could not` : ''}, ${state}`
}

export const purgeJobs: Command = {
  name: 'jobs purge',
  positionals: ['[QUEUE]'],
  summary: 'Empty a queue: cancel all that waits or runs, forget all that ended, dead letters too. Asks to type its name.',
  details: `For scripts, --yes with the name of the queue. Without it, and without a terminal, nothing is done (exit code 2).\n${CONNECTION_DETAILS}`,
  options: {
    ...CONNECTION_OPTIONS,
    queue: QUEUE_OPTION,
    yes: { type: 'string', value: 'QUEUE', help: 'the name of the queue once more, instead of the question' },
    detach: { type: 'boolean', help: 'do not wait for the end' },
    json: JSON_OPTION,
  },
  async run(args, io) {
    const refuse = (what: string): ExitCode => {
      io.err(`spillway jobs purge: ${what}\n`)
      return EXIT.usage
    }
    const queue = queueNamed(args)
    if (queue === undefined) return refuse('QUEUE is missing: which one shall be emptied?')
    const yes = args.text('yes')
    if (yes === undefined && io.ask === undefined)
      return refuse(`nothing was done: to empty queue ${shown(queue)} without a terminal, say --yes ${shown(queue)}`)
    const api = await connect(args, io, 'jobs purge')
    if (api === undefined) return EXIT.usage
    const found = await api.get(`queues/${segment(queue)}`)
    if ('wrong' in found) {
      io.err(`spillway jobs purge: queue ${shown(queue)}: ${found.wrong}\n`)
      return EXIT.failed
    }
    const typed =
      yes ?? (await io.ask?.(`${heldText(queue, found.value.document)}\nThat cannot be undone. Type the name of the queue to empty it: `))
    if (typed !== queue) return refuse(`nothing was done: ${JSON.stringify(typed ?? '')} is not the name of the queue`)
    return await purge({ api, io, args, command: 'jobs purge' }, queue)
  },
}

/** A second time where something is left: what was cancelled while the gateway forgot what had ended before. */
async function purge(follower: Follower, queue: string): Promise<ExitCode> {
  const { api, io, args, command } = follower
  let code: ExitCode = EXIT.ok
  for (let round = 0; round < 2; round++) {
    const told = await api.post(`queues/${segment(queue)}/purge`, { confirm: queue })
    if ('wrong' in told) {
      io.err(`spillway ${command}: queue ${shown(queue)}: ${told.wrong}\n`)
      return EXIT.failed
    }
    code = await followTasks(follower, listOf(told.value.document, 'tasks', taskFacts))
    const after = await api.get(`queues/${segment(queue)}`)
    if (args.has('detach') || 'wrong' in after || held(after.value.document).length === 0) break
  }
  return code
}

function heldText(queue: string, document: unknown): string {
  const counts = held(document).map(([status, count]) => `${String(count)} ${status}`)
  return `queue ${shown(queue)} holds ${counts.length === 0 ? 'nothing' : counts.join(', ')}.`
}

/** How many by status, but for none. */
function held(document: unknown): readonly (readonly [string, unknown])[] {
  const counts: unknown = isMapping(document) ? document['counts'] : undefined
  return Object.entries(isMapping(counts) ? counts : {}).filter(([, count]) => count !== 0)
}
