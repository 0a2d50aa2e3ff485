/**
 * What has to follow from ends of jobs, and what does: the next job of a chain, a webhook for each endpoint that asks for it, the end of a batch.
 * It reads what was asked for as it was accepted, sees what is made of it, and compares that with what servers answered and receivers got.
 */
import type { EndpointConfig } from '../../src/config/config.ts'
import type { CommandOutcome, JobCommand, JobError, JobStore, NewJob, StoredJob } from '../../src/ports/job-store.ts'
import type { GatewayEvent } from '../../src/telemetry/telemetry.ts'
import { type Facts, newIntent, type Run } from './facts.ts'
import { WEBHOOKS } from './following.ts'
import { intercept } from './intercept.ts'
import type { ModelJob, Onlooker, Oracle } from './oracle.ts'
import type { Scenario } from './scenario.ts'
import type { World } from './world.ts'

/** Written down anew, so that it shares no mistake with the gateway. */
interface Plan {
  readonly then?: { readonly queue?: string; readonly route?: string; readonly target?: string }
  readonly batch?: { readonly index: number }
}

interface End {
  readonly job: ModelJob
  readonly version: number
  /** How webhooks name it. */
  readonly event: string
  readonly status: string
  /** Its result is to be sent on. */
  readonly then: boolean
  readonly endpoints: readonly string[]
  /** It stands in the outbox. */
  due: boolean
  stopped?: JobError
}

export interface ModelBatch {
  readonly id: string
  readonly jobs: readonly ModelJob[]
}

interface Delivery {
  readonly body: Buffer
  taken: number
}

export class Ends implements Onlooker {
  /** By id of their first job. */
  readonly batches = new Map<string, ModelBatch>()
  readonly #world: World
  readonly #facts: Facts
  readonly #oracle: Oracle
  readonly #scenario: Scenario
  readonly #endpoints: readonly EndpointConfig[]
  readonly #plans = new Map<string, Plan>()
  readonly #depths = new Map<string, number>()
  /** By id and version. */
  readonly #ends = new Map<string, End>()
  readonly #byEvent = new Map<string, End>()
  readonly #nextOf = new Map<string, ModelJob>()
  /** By id of the event and name of the endpoint. */
  readonly #webhooks = new Map<string, ModelJob>()
  readonly #deliveries = new Map<string, Delivery>()
  readonly #batchEnds = new Map<string, number>()

  constructor(world: World, facts: Facts, oracle: Oracle, scenario: Scenario) {
    this.#world = world
    this.#facts = facts
    this.#oracle = oracle
    this.#scenario = scenario
    this.#endpoints = scenario.config.webhooks?.endpoints ?? []
    oracle.onlookers.push(this)
  }

  /** Beside the oracle, which sees everything first. */
  watch(store: JobStore): JobStore {
    return intercept(store, async (method, args, next) => {
      const result = await next(args)
      if (method === 'command') {
        const outcomes = result as readonly CommandOutcome[]
        for (const [i, command] of (args[0] as readonly JobCommand[]).entries()) this.#commanded(command, outcomes[i])
      }
      return result
    })
  }

  // --- what is accepted

  created(job: ModelJob, { followUp, parent, reference, request }: NewJob): void {
    const plan = JSON.parse(followUp ?? '{}') as Plan
    this.#plans.set(job.id, plan)
    this.#depths.set(job.id, parent?.depth ?? 1)
    if (plan.batch !== undefined) this.#ofBatch(job, plan.batch.index)
    if (parent !== undefined) this.#sentOn(job, parent.id, request.headers)
    if (job.queue === WEBHOOKS) this.#webhook(job, reference ?? '')
  }

  #ofBatch(job: ModelJob, index: number): void {
    const last = [...this.batches.values()].at(-1)
    if (index === 0) return void this.batches.set(job.id, { id: job.id, jobs: [job] })
    this.#check(last?.jobs.length === index, 'a batch is taken as a whole', () => `${job.id} has the index ${index} in ${last?.id}`)
    if (last !== undefined) this.batches.set(last.id, { ...last, jobs: [...last.jobs, job] })
  }

  #sentOn(job: ModelJob, parent: string, headers: readonly string[]): void {
    const { tag, body, key } = job
    this.#facts.intents.set(
      tag,
      newIntent({ ...{ tag, route: 'chain', method: 'POST', body, key, idempotencyKey: undefined, delayMs: 0, priority: 0 } }),
    )
    const before = this.#nextOf.get(parent)
    this.#check(this.#mayBeAgain(before), 'each success makes the next job once', () => `${before?.id} and ${job.id} follow ${parent}`)
    this.#nextOf.set(parent, job)
    const from = this.#oracle.jobs.get(parent)
    const then = this.#plans.get(parent)?.then
    this.#check(from?.status === 'succeeded', 'only a success is sent on', () => `${job.id} follows ${parent}, which is ${from?.status}`)
    const queue = then?.queue ?? (then?.route === 'last' ? 'third' : undefined)
    this.#check(
      queue === job.queue && job.target === (then?.target ?? '/'),
      'a chain goes where it was to go',
      () => `${job.id} of ${parent}`,
    )
    const result = this.#resultOf(from)
    const same = result !== undefined && result.equals(body)
    this.#check(same, 'the next job has the result, byte for byte', () => `${job.id}: ${body.length} bytes, of ${result?.length}`)
    const isFromQueue = then?.target === '/second'
    this.#check(!isFromQueue || headers.includes('X-Source'), 'a chain goes where it was to go', () => `${job.id} has not its header`)
    const depth = (this.#depths.get(parent) ?? 0) + 1
    this.#check(this.#depths.get(job.id) === depth, 'a chain goes where it was to go', () => `${job.id} is not number ${depth}`)
  }

  /** Where the gateway never heard that it was made, and somebody has removed it before it could ask again. */
  #mayBeAgain(before: ModelJob | undefined): boolean {
    if (before === undefined) return true
    const { storeFaults, crashes, fatals, drains } = this.#scenario
    return storeFaults.after + crashes + fatals + drains > 0 && this.#oracle.mayBeGone(before.id)
  }

  /** As the server wrote it, or the consumer. */
  #resultOf(job: ModelJob | undefined): Buffer | undefined {
    const run = job === undefined ? undefined : this.#facts.runsOf(job.tag).find((each) => isBy(each, job))
    return run?.answer === undefined ? undefined : Buffer.from(run.answer.body, 'latin1')
  }

  #webhook(job: ModelJob, event: string): void {
    const endpoint = job.target.slice(1)
    const name = `${event} ${endpoint}`
    const before = this.#webhooks.get(name)
    this.#check(this.#mayBeAgain(before), 'one webhook for each end and endpoint', () => `${before?.id} and ${job.id} tell ${name}`)
    this.#webhooks.set(name, job)
    const batch = this.batches.get(/^msg_batch_(\w+)$/.exec(event)?.[1] ?? '')
    if (batch !== undefined) return this.#batchOver(batch, job)
    const end = this.#byEvent.get(event)
    this.#check(end?.endpoints.includes(endpoint) === true, 'a webhook tells of an end', () => `${job.id} tells ${endpoint} of ${event}`)
    if (end === undefined) return
    const { type, status, id: told } = JSON.parse(job.body.toString('utf8')) as Record<string, unknown>
    const right = type === `job.${end.status}` && status === end.status && told === end.job.id
    this.#check(right, 'a webhook tells of an end', () => `${job.id} tells that ${String(told)} is ${String(status)}: ${end.status}`)
    const result = end.status === 'succeeded' ? this.#resultOf(end.job) : undefined
    if (result === undefined || result.length > (this.#scenario.config.webhooks?.inline ?? 0)) return
    // Without a content type it is told as text.
    const text = JSON.stringify(result.toString('utf8'))
    const whole = job.body.includes(text) || job.body.includes(result)
    this.#check(whole, 'a webhook has the result, byte for byte', () => `${job.id} of ${end.job.id}`)
  }

  #batchOver({ id, jobs }: ModelBatch, webhook: ModelJob): void {
    const open = jobs.filter((job) => job.place !== 'ended' && job.redrives === 0)
    this.#check(open.length === 0, 'a batch ends when each of its jobs has ended', () => `${webhook.id}: ${open[0]?.id} of ${id} has not`)
    const { counts, total } = JSON.parse(webhook.body.toString('utf8')) as { counts: Record<string, number>; total: number }
    const sum = Object.values(counts).reduce((all, count) => all + count, 0)
    this.#check(
      sum === total && total === jobs.length,
      'counts of a batch are all its jobs',
      () => `${webhook.id}: ${sum} of ${jobs.length}`,
    )
  }

  // --- what ends

  ended(job: ModelJob, view: StoredJob): void {
    const { version, status, followUpDue, queue, redrives, finishedAt = 0 } = view
    const plan = this.#plans.get(job.id)
    const asking = this.#endpoints.filter(({ events, queues }) => events.includes(`job.${status}`) && (queues?.some(isOf(queue)) ?? true))
    const endpoints = queue === WEBHOOKS ? [] : asking.map(({ name }) => name)
    const then = plan?.then !== undefined && status === 'succeeded'
    const due = followUpDue === true
    this.#check(
      due || (endpoints.length === 0 && plan?.then === undefined && plan?.batch === undefined),
      'what follows is one commit with the end',
      () => `${job.id} is ${status}, and nothing is to follow`,
    )
    const end: End = { job, version, event: `msg_${job.id}_${redrives}_${Math.floor(finishedAt)}`, status, then, endpoints, due }
    this.#ends.set(`${job.id} ${version}`, end)
    this.#byEvent.set(end.event, end)
  }

  /** What was to follow from the end that nobody knew yet does not. */
  redriven(job: ModelJob): void {
    for (const run of this.#facts.runsOf(job.tag)) run.mayBeSentAgain = true
    for (const end of this.#ends.values()) if (end.job === job) end.due = false
  }

  #commanded(command: JobCommand, outcome: CommandOutcome | undefined): void {
    if (command.kind !== 'followed' || outcome?.kind !== 'done') return
    const { id, version, next, more = false } = command
    const end = this.#ends.get(`${id} ${version}`)
    this.#check(end?.due === true, 'nothing invented', () => `${id} ${version} is followed and was not due`)
    if (end === undefined) return
    if (next !== undefined && 'error' in next) end.stopped = next.error
    // Something of it has no room.
    if (more) return
    end.due = false
    const missing = end.endpoints.filter((name) => !this.#webhooks.has(`${end.event} ${name}`))
    this.#check(missing.length === 0, 'an end waits until all has followed', () => `${id}: ${missing.join(', ')} were not told`)
    const kept = outcome.job?.next
    const named = kept !== undefined && 'id' in kept ? kept.id : undefined
    const child = this.#nextOf.get(id)
    this.#check(named === child?.id, 'a job names the next one', () => `${id} names ${named}, ${child?.id} follows`)
    this.#check(!end.then || kept !== undefined, 'an end waits until all has followed', () => `${id}: nothing was sent on`)
    if (end.stopped !== undefined) this.#checkStop(end, end.stopped)
  }

  #checkStop({ job, then }: End, { code, detail }: JobError): void {
    const { chain, jobBody } = this.#scenario.config.limits
    const bytes = this.#resultOf(job)?.length ?? 0
    const tooLong = code === 'chain_too_long' && (this.#depths.get(job.id) ?? 0) >= chain
    const tooLarge = code === 'chain_result_too_large' && (bytes > jobBody || bytes > this.#nextLimit - HEAD_BYTES_MAX)
    this.#check(then && (tooLong || tooLarge), 'a chain stops only where it must', () => `${job.id}: ${code}, ${detail}`)
  }

  /** All queues that something is sent on to have the same. */
  get #nextLimit(): number {
    return this.#scenario.config.queues.find(({ name }) => name === 'second')?.limits.bytes ?? 0
  }

  /** What the gateway tells of itself. */
  told(event: GatewayEvent): void {
    if (event.type !== 'batch-ended') return
    const times = (this.#batchEnds.get(event.batch) ?? 0) + 1
    this.#batchEnds.set(event.batch, times)
    this.#check(times === 1, 'the end of a batch is told once', () => event.batch)
  }

  // --- what is delivered

  received(endpoint: string, event: string, body: Buffer, taken: boolean): void {
    const name = `${event} ${endpoint}`
    const job = this.#webhooks.get(name)
    this.#check(job?.body.equals(body) === true, 'a webhook says the same whenever it is sent', () => `${name} is ${body.length} bytes`)
    const delivery = this.#deliveries.get(name) ?? { body, taken: 0 }
    if (taken) delivery.taken++
    this.#deliveries.set(name, delivery)
  }

  // --- at the end

  /** Nothing is on its way that would come by itself, or by sending again what was given up. */
  get isQuiet(): boolean {
    return ![...this.#ends.values()].some(({ due }) => due) && this.givenUp.length === 0
  }

  /** Webhooks that are dead letters. */
  get givenUp(): readonly ModelJob[] {
    return [...this.#webhooks.values()].filter((job) => job.status === 'failed' && !this.#oracle.mayBeGone(job.id))
  }

  async checkAll(store: JobStore): Promise<void> {
    const due = await store.followUps(100)
    this.#check(due.length === 0, 'the outbox empties', () => due.map(({ id }) => id).join(', '))
    const left = [...this.#ends.values()].filter((end) => end.due)
    this.#check(left.length === 0, 'what is due is done', () => left.map(({ job, version }) => `${job.id} ${version}`).join(', '))
    for (const [name, job] of this.#webhooks) this.#checkDelivered(name, job)
    const reads = await store.read([...this.#nextOf.keys()], 'status')
    for (const [i, [parent, child]] of [...this.#nextOf].entries()) {
      const next = reads[i]?.job.next
      const named = next !== undefined && 'id' in next ? next.id : undefined
      this.#check(reads[i] === undefined || named === child.id, 'a job names the next one', () => `${parent}: ${named}, not ${child.id}`)
    }
    const batches = await store.notes('batch/')
    for (const batch of this.batches.values()) this.#checkBatch(batch, batches)
  }

  /** Long after: nobody asks for anything any more, and the time of everything is over. */
  async checkForgotten(store: JobStore): Promise<void> {
    for (const { queue, counts, blockedKeys } of await store.stats()) {
      const kept = Object.values(counts).reduce((all, count) => all + count, 0)
      this.#check(kept === blockedKeys, 'nothing is kept for ever', () => `${queue} has ${kept} jobs: ${JSON.stringify(counts)}`)
    }
    const notes = await store.notes('batch/')
    this.#check(notes.length === 0, 'nothing is kept for ever', () => notes.map(({ name }) => name).join(', '))
  }

  #checkDelivered(name: string, { id, status }: ModelJob): void {
    const taken = this.#deliveries.get(name)?.taken ?? 0
    this.#check(status !== 'succeeded' || taken > 0, 'what counts as delivered was taken', () => `${id}, ${name}`)
    const given = status === 'cancelled' || this.#oracle.mayBeGone(id)
    this.#check(given || taken > 0, 'each end is told at least once', () => `${id} is ${status}, ${name}`)
  }

  #checkBatch({ id, jobs }: ModelBatch, notes: readonly { readonly name: string; readonly text: string }[]): void {
    const head = notes.find(({ name }) => name === `batch/${id}`)
    const { finishedAt, due } = JSON.parse(head?.text ?? '{}') as { readonly finishedAt?: number; readonly due?: boolean }
    this.#check(finishedAt !== undefined && due === undefined, 'a batch ends', () => `${id}: ${head?.text}`)
    const letters = notes.find(({ name }) => name === `batch/${id}/0`)?.text
    const statuses = jobs.map(({ status }) => LETTERS[status] ?? '.').join('')
    this.#check(letters === statuses, 'a batch counts how its jobs ended', () => `${id}: ${letters}, they are ${statuses}`)
    for (const { name } of this.#endpoints.filter(({ events, queues }) => events.includes('batch.ended') && queues === undefined)) {
      this.#check(
        this.#webhooks.has(`msg_batch_${id} ${name}`),
        'each end is told at least once',
        () => `the end of the batch ${id} to ${name}`,
      )
    }
  }

  #check(holds: boolean, name: string, detail: () => string): void {
    this.#world.history.check(holds, name, detail)
  }
}

/** Of a request that is sent on. */
const HEAD_BYTES_MAX = 200
const LETTERS: Readonly<Record<string, string>> = { succeeded: 's', failed: 'f', cancelled: 'c', expired: 'x' }

function isBy({ job }: Run, { id, succeededWith }: ModelJob): boolean {
  return job?.id === id && job.fence === succeededWith
}

function isOf(queue: string): (pattern: string) => boolean {
  return (pattern) => (pattern.endsWith('*') ? queue.startsWith(pattern.slice(0, -1)) : pattern === queue)
}
