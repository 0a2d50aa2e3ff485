/** What a configuration file may hold about queues and the queue API: the second half of `schema.ts`. The API reads its documents by the same. */
import * as z from 'zod'
import * as field from './fields.ts'

const MILLION = 1_000_000

const backoff = z.strictObject({
  base: field.span.prefault('1s').describe('The first delay; each further one is twice as long.'),
  max: field.span.prefault('30m').describe('The longest delay. Jitter: at least half of each delay is kept.'),
})

export const queueLimits = z.strictObject({
  jobs: field.count(1, 1_000_000_000).default(MILLION).describe('Jobs that have not ended. Above it a submission is refused with 503.'),
  bytes: field.size.prefault('10GiB').describe('Size of jobs that have not ended. Above it a submission is refused with 503.'),
  finished: field.size.prefault('10GiB').describe('Size of ended jobs and results. Above it the oldest go before their time.'),
  age: field.spanOrNever.prefault('never').describe('How long the oldest job may have waited. Above it a submission is refused with 503.'),
  overflow: z
    .enum(['refuse', 'drop-oldest'])
    .default('refuse')
    .describe('At the limit of jobs, bytes or age: `refuse` the new one, or `drop-oldest`: the oldest waiting job becomes a dead letter.'),
})

const sideline = z.strictObject({
  after: field.span.prefault('30s').describe('A job that has waited for longer is old.'),
  share: field.share.prefault('20%').describe('Of the hand-outs, while fresher jobs wait.'),
})

const pace = z.strictObject({
  interval: field.span
    .prefault('500ms')
    .describe('How often it is looked at what direct requests meet, and the number of jobs in flight is raised or halved.'),
})

const shed = z.strictObject({
  from: field.percent.prefault('50%').describe('Of `limits.jobs` or `limits.bytes`: from here on it begins.'),
})

const defer = z.strictObject({
  max: field.span.prefault('24h').describe('Longest time for which a server may defer or extend at once.'),
  jobs: field
    .count(0, MILLION)
    .default(1000)
    .describe('Deferred jobs of the queue at once; one more is handed back, as after a 503. 0: servers may not defer.'),
})
const thenObject = z.strictObject({
  queue: z.string().optional().describe('A queue, by its name. Either this or `route`.'),
  route: z.string().optional().describe('A route that keeps jobs, by its match as it is written, such as `POST /translate`.'),
  method: field.method.optional().describe('Of the request that is made. Default: POST, or the first that the route takes.'),
  target: field.target.optional().describe('Its path and query. Default: the path of the route; `/` for a queue.'),
  headers: z
    .record(z.string(), z.union([z.string(), z.array(z.string())]))
    .optional()
    .describe('Its headers, beside the content type of the result.'),
})

export const thenSchema = z.union([z.string().min(1), thenObject])

export const queueSchema = z.strictObject({
  pool: z
    .string()
    .optional()
    .describe('Whose servers work it off. Left out: the pool of the routes that fill it, unless it is a `pull` queue.'),
  pull: z
    .boolean()
    .optional()
    .describe(
      'May pull consumers work it off, by the queue API? Without `pool` only they do. Default: `true` where there is neither a pool nor a route that fills it.',
    ),
  concurrency: field.count(1, MILLION).default(8).describe('Jobs in flight per server.'),
  attempts: field.count(1, 1000).default(20).describe('Attempts until a job is a dead letter.'),
  backoff: backoff.prefault({}).describe('Pause between two attempts.'),
  timeout: field.span
    .prefault('60s')
    .describe(
      'One attempt; for a pull consumer the lease, where it asks for no other. Of a streamed answer (`stream` of a route): to its head, and then the longest time without a byte.',
    ),
  defer: defer.prefault({}).describe('How far servers may answer `202` with `Spillway-Defer` and report the end of a job later.'),
  expireAfter: field.spanOrNever
    .prefault('never')
    .describe('From the moment a job may run to its first attempt; expired jobs are dead letters.'),
  deadline: field.spanOrNever
    .prefault('never')
    .describe('From acceptance to the end: a job that is not done by then is not begun again and becomes a dead letter.'),
  keep: field.span.prefault('24h').describe('How long ended jobs and their results can be asked for. Request bodies go at success.'),
  keepDead: field.span.prefault('14d').describe('How long dead letters are kept.'),
  deadLetter: z
    .enum(['exhausted', 'all'])
    .default('exhausted')
    .describe(
      '`exhausted`: jobs out of attempts, expired, poisoned or of unknown outcome become dead letters. `all`: also jobs that a server refused for good.',
    ),
  onUnauthorized: z
    .enum(['fail', 'hold'])
    .default('fail')
    .describe(
      'A server answered 401 or 403. `fail`: that is the result. `hold`: the job is a dead letter that keeps its request, and its key, until somebody sends it again with another credential, or releases it.',
    ),
  onFailure: z
    .enum(['skip', 'block'])
    .default('skip')
    .describe('A job with a key failed for good: `skip` lets the next of its key go, `block` keeps the key until somebody releases it.'),
  ageing: field.spanOrNever
    .prefault('never')
    .describe('So much waiting counts as one step of priority, so that no job waits for ever behind more urgent ones.'),
  maxRunning: field
    .count(1, MILLION)
    .optional()
    .describe('Jobs of the queue that run at once, wherever. Left out: as many as there are slots.'),
  tenantMaxRunning: field.count(1, MILLION).optional().describe('Jobs of one tenant that run at once. Left out: no limit.'),
  rate: field.rate.optional().describe('Hand-outs, such as `100/s` or `5000/1h`. Left out: no limit.'),
  keyRate: field.rate.optional().describe('Hand-outs of each key, such as `10/1m`. Left out: no limit.'),
  sideline: z
    .union([field.off, sideline])
    .optional()
    .describe('Old jobs get a share of the hand-outs, fresher ones go first. Default: on where a spill route fills the queue, else `off`.'),
  pace: z
    .union([field.off, pace])
    .optional()
    .describe(
      'Jobs give way to direct requests: how many are in flight per server grows while these are served well, and halves when they are not. Default: on where a spill route fills the queue, else `off`.',
    ),
  shed: z
    .union([field.off, shed])
    .prefault({})
    .describe('While the queue fills up, requests of low priority are refused first. Only on routes that allow `priority`.'),
  limits: queueLimits.prefault({}).describe('How much the queue may hold.'),
  then: thenSchema
    .optional()
    .describe('Where the result of a job goes when it has succeeded: a queue, a route such as `POST /translate`, or a mapping.'),
})

export const SIDELINE_DEFAULTS: z.output<typeof sideline> = sideline.parse({})
export const PACE_DEFAULTS: z.output<typeof pace> = pace.parse({})

export const scheduleSchema = z.strictObject({
  queue: z.string().describe('Where its jobs go.'),
  cron: z
    .string()
    .optional()
    .describe('When: five fields, or six with seconds in front, such as `0 6 * * mon-fri`. Either this or `every`.'),
  timeZone: z.string().default('UTC').describe('In which time zone `cron` is meant, such as `Europe/Berlin`.'),
  every: field.spanText.optional().describe('Instead of `cron`: once in so much time.'),
  missed: z
    .enum(['skip', 'once', 'all'])
    .default('once')
    .describe('What became due while no gateway ran is left out, run once, or all of it (at most 1,000 times).'),
  paused: z.boolean().default(false).describe('Is kept, but makes no jobs.'),
  job: field.jobDocument.prefault({}).describe('The job that it makes, as when [sending](../queue-api.md#sending).'),
})

const oneOrMore = z.union([z.string(), z.array(z.string()).min(1)])
const scalar = z.union([z.string(), z.number(), z.boolean(), z.null()])

const filter = z.strictObject({
  headers: z.record(field.headerName, oneOrMore).default({}).describe('A header has this value, or one of these.'),
  fields: z
    .record(field.jsonPointer, z.union([scalar, z.array(scalar).min(1)]))
    .default({})
    .describe('What a JSON pointer (RFC 6901) into the payload points to is this, or one of these.'),
})

export const subscriptionSchema = z.strictObject({
  queue: z.string().optional().describe('Where its copies go. Left out: a queue of its own, `<topic>.<name>`, for pull consumers.'),
  filter: filter.optional().describe('Which jobs it gets; all conditions must hold. Left out: all.'),
})

export const topicSchema = z.strictObject({
  subscriptions: z.record(field.name, subscriptionSchema).default({}).describe('Who gets copies of what is published, by name.'),
})

const apiKey = z.strictObject({
  name: field.name.describe('What it is called in messages. Idempotency keys are kept apart by it.'),
  token: z
    .string()
    .min(16, { error: 'must have at least 16 characters; make one with: openssl rand -hex 32' })
    .describe('What is sent as `Authorization: Bearer …`. At least 16 characters.'),
  queues: z.array(field.queuePattern).min(1).describe('Which queues, by name; `*` at the end stands for anything.'),
  can: z
    .array(z.enum(['send', 'receive', 'browse', 'manage']))
    .min(1)
    .describe('`send`; `receive` and settle; `browse`: look into it; `manage`: everything else.'),
  pools: z
    .array(field.name)
    .optional()
    .describe('Which pools may work off the queues that it makes. Left out: none, its queues are for pull consumers.'),
})

export const apiSchema = z.strictObject({
  keys: z
    .array(apiKey)
    .default([])
    .describe('Who may use it on the listeners. Without any, listeners do not serve it; the admin address does.'),
  receiveMax: field.count(1, 10_000).default(1000).describe('Jobs in one receive, settle or send.'),
  receiversMax: field.count(1, MILLION).default(4096).describe('Pull consumers that wait for jobs at once; more are refused with 503.'),
  queuesMax: field.count(1, 100_000).default(1000).describe('Queues that are made over the API; one more is refused with 409.'),
  leaseMax: field.span.prefault('12h').describe('Longest lease that a pull consumer may ask for.'),
  body: field.size
    .optional()
    .describe(
      'One JSON body, or one line of NDJSON. Also about how much one receive brings, however many jobs it asks for. Default: `16MiB`, more where `limits.jobBody` needs it.',
    ),
})
