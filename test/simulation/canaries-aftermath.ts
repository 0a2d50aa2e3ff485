/** Mistakes made on purpose in what follows from ends of jobs: chains, batches, webhooks. */
import { BatchState } from '../../src/core/jobs/batch.ts'
import type { CommandOutcome, JobCommand, Lease, NewJob, StoredJob } from '../../src/ports/job-store.ts'
import { WebhookMaker } from '../../src/webhooks/maker.ts'
import { Sender } from '../../src/webhooks/sender.ts'
import { broken, type Canary, every, patched, submitted } from './canaries.ts'
import { WEBHOOKS } from './following.ts'

/** Commands of the kind that the gateway believes to be done. */
function forgotten(isMeant: (command: JobCommand) => boolean): Canary['options'] {
  return broken('command', () => async (args, next) => {
    const commands = args[0] as readonly JobCommand[]
    const outcomes = (await next([commands.filter((command) => !isMeant(command))])) as CommandOutcome[]
    return commands.map((command) => (isMeant(command) ? { kind: 'done' } : (outcomes.shift() as CommandOutcome)))
  })
}

function leasedWebhooks(change: (lease: Lease) => Lease): Canary['options'] {
  return broken('lease', () => async (args, next) => {
    const all = (await next(args)) as readonly (readonly Lease[])[]
    return all.map((leases) => leases.map((lease) => (lease.job.queue === WEBHOOKS ? change(lease) : lease)))
  })
}

function isEndOfBatch(command: JobCommand): boolean {
  return command.kind === 'note' && /^batch\/\w+$/.test(command.name) && command.text?.includes('finishedAt') === true
}

const removesBatch = (command: JobCommand): boolean =>
  command.kind === 'note' && command.name.startsWith('batch/') && command.text === undefined

function shortened(job: NewJob): NewJob {
  const { body } = job.request
  return job.parent === undefined ? job : { ...job, request: { ...job.request, body: body.subarray(0, Math.max(0, body.length - 1)) } }
}

export const AFTERMATH_CANARIES: readonly Canary[] = [
  {
    name: 'a next job that is not known when it is made again',
    seed: 4,
    foundAs: ['each success makes the next job once', 'one webhook for each end and endpoint', 'accepted jobs are kept'],
    options: submitted(({ idempotency, ...job }) =>
      job.parent === undefined && job.queue !== WEBHOOKS && idempotency !== undefined ? { ...job, idempotency } : job,
    ),
  },
  {
    name: 'a result that is sent on without its last byte',
    seed: 15,
    foundAs: ['the next job has the result, byte for byte', 'nothing altered'],
    options: submitted(shortened),
  },
  {
    name: 'an outbox of which something is lost',
    seed: 51,
    foundAs: ['what is due is done'],
    options: broken(
      'followUps',
      () => async (args, next) => ((await next(args)) as StoredJob[]).filter(({ id }) => !/[048cgmrw]00$/.test(id)),
    ),
  },
  {
    name: 'an endpoint that is passed over',
    seed: 15,
    foundAs: ['an end waits until all has followed'],
    options: {},
    patch: patched(WebhookMaker.prototype, 'recipientsOf', (real) => {
      const now = every(5)
      return function recipientsOf(this: WebhookMaker, ...args) {
        return now() ? [] : real.apply(this, args)
      }
    }),
  },
  {
    name: 'a webhook that has another id whenever it is sent',
    seed: 15,
    foundAs: ['a webhook says the same whenever it is sent'],
    options: leasedWebhooks((lease) => ({ ...lease, job: { ...lease.job, reference: `${lease.job.reference}${lease.job.attempt}` } })),
  },
  {
    name: 'a webhook that says something else when it is sent again',
    seed: 8,
    foundAs: ['a webhook says the same whenever it is sent', 'nothing altered'],
    options: leasedWebhooks((lease) => {
      const body = lease.job.attempt > 1 ? Buffer.from('{}') : lease.request.body
      return { ...lease, request: { ...lease.request, body } }
    }),
  },
  {
    name: 'a webhook that was not sent and counts as delivered',
    seed: 15,
    foundAs: ['what counts as delivered was taken'],
    options: {},
    patch: patched(Sender.prototype, 'send', (real) => {
      const now = every(10)
      const answer = { status: 200, reason: '', headers: [], body: Buffer.alloc(0) }
      return function send(this: Sender, ...args) {
        return now() ? { end: Promise.resolve({ kind: 'answer', answer } as const), abort: () => undefined } : real.apply(this, args)
      }
    }),
  },
  {
    name: 'a batch that forgets an end',
    seed: 21,
    foundAs: ['a batch ends', 'a batch counts how its jobs ended', 'a batch ends when each of its jobs has ended'],
    options: {},
    patch: patched(BatchState.prototype, 'end', (real) => {
      const now = every(7)
      return function end(this: BatchState, ...args) {
        return now() ? false : real.apply(this, args)
      }
    }),
  },
  {
    name: 'a batch of which one job is left out',
    seed: 64,
    foundAs: [
      'accepted jobs are kept',
      'a batch is taken as a whole',
      'counts of a batch are all its jobs',
      'a batch ends',
      'a batch counts how its jobs ended',
    ],
    options: broken('submitWhole', () => (args, next) => {
      const [jobs, note] = args as readonly [readonly NewJob[], unknown]
      return next([jobs.length > 1 ? jobs.slice(0, -1) : jobs, note])
    }),
  },
  {
    name: 'the end of a batch that is not written',
    seed: 15,
    foundAs: [
      'a batch ends',
      'the end of a batch is told once',
      'the end of a batch is an end',
      'a batch ends when each of its jobs has ended',
    ],
    options: forgotten(isEndOfBatch),
  },
  {
    name: 'a batch that is never forgotten',
    seed: 15,
    foundAs: ['nothing is kept for ever'],
    options: forgotten(removesBatch),
  },
]
