/** The promises that are checked where requests reach servers, and at the end of a history. Each check has the promise's name. */
import type { Config } from '../../src/config/config.ts'
import { type Facts, type Intent, isUnderWay, type Run } from './facts.ts'
import type { Message } from './http-reader.ts'
import type { ModelJob, Oracle } from './oracle.ts'
import type { World } from './world.ts'

/** What a lease lasts longer than its attempt may. */
const LEASE_SLACK_MS = 15_000

export class Promises {
  readonly #world: World
  readonly #facts: Facts
  readonly #oracle: Oracle
  readonly #config: Config
  readonly #runOfFence = new Map<number, Run>()
  /** By server: what may still be under way there. */
  readonly #underWay = new Map<string, Run[]>()

  constructor(world: World, facts: Facts, oracle: Oracle, config: Config) {
    this.#world = world
    this.#facts = facts
    this.#oracle = oracle
    this.#config = config
  }

  /** A job has been received by a pull consumer. */
  received(run: Run, target: string, body: Buffer): void {
    const intent = this.#facts.intents.get(run.tag)
    const same = intent !== undefined && body.equals(intent.body)
    this.#check(same, 'nothing altered', () => `run ${run.id}: the body of ${run.tag} has ${body.length} bytes`)
    if (run.job !== undefined) this.#checkJob(run, run.job, target)
  }

  /** A request has reached a server. */
  arrived(run: Run, message: Message): void {
    this.#checkLimits(run)
    const intent = this.#facts.intents.get(run.tag)
    if (intent === undefined) return
    if (run.job === undefined) {
      this.#checkLive(run, intent)
      this.#checkOvertaking(run, intent)
    } else this.#checkJob(run, run.job, message.start.split(' ')[1] ?? '')
    this.#checkOnceInAll(run, intent)
    const told = intent.nothingDone && run.job !== undefined
    this.#check(!told, 'nothing was done', () => `run ${run.id} of ${run.tag}, whose client was told that nothing was done`)
  }

  #checkLimits(run: Run): void {
    const before = this.#underWay.get(run.server) ?? []
    const now = [...before, run].filter((each) => isUnderWay(each))
    this.#underWay.set(run.server, now)
    const mine = now.filter((each) => each.link?.process === run.link?.process)
    const max = this.#config.pools[0]?.maxInFlight ?? 0
    this.#check(mine.length <= max, 'limits hold', () => `${mine.length} requests at ${run.server}, ${max} are allowed`)
    if (run.job === undefined) return
    const { queue } = run.job
    const jobs = mine.filter((each) => each.job?.queue === queue).length
    const concurrency = this.#config.queues.find(({ name }) => name === queue)?.concurrency ?? 0
    this.#check(jobs <= concurrency, 'limits hold', () => `${jobs} jobs of ${queue} at ${run.server}, ${concurrency} are allowed`)
  }

  /** A live request that is not idempotent goes to one server, once for each time that it was sent. */
  #checkLive(run: Run, intent: Intent): void {
    if (intent.method !== 'POST') return
    const live = this.#facts.runsOf(run.tag).filter((each) => each.job === undefined).length
    this.#check(
      live <= intent.sentAt.length,
      'no live request is sent twice',
      () => `${run.tag} was sent ${intent.sentAt.length} times and ran ${live} times`,
    )
  }

  /** What could be served at once does not pass what waits, runs or is to be sent again under its key. */
  #checkOvertaking(run: Run, intent: Intent): void {
    const route = this.#config.routes.find(({ name }) => name === intent.route)
    if (route?.mode !== 'spill' || route.queue === undefined || intent.key === undefined) return
    const sentAt = Math.max(...intent.sentAt.filter((at) => at <= run.at))
    for (const job of this.#oracle.jobsOfKey(route.queue, intent.key)) {
      const before = job.acceptedAt < sentAt && job.place !== 'ended' && !job.delayed && !this.#oracle.mayHaveExpired(job)
      this.#check(!before, 'no live request overtakes queued ones of its key', () => `run ${run.id} of key ${intent.key} before ${job.id}`)
    }
  }

  /** On a route that sends once: whatever way it takes, live and as a job, a request reaches servers again only when it may. */
  #checkOnceInAll(run: Run, intent: Intent): void {
    const route = this.#config.routes.find(({ name }) => name === intent.route)
    if (intent.method !== 'POST' || route?.redeliver !== 'safe' || intent.idempotencyKey !== undefined) return
    const before = this.#facts.runsOf(run.tag).filter((each) => each !== run && !each.mayBeSentAgain)
    this.#check(
      before.length === 0,
      'what may be sent only once is not sent again',
      () => `${run.tag}: run ${before[0]?.id} and run ${run.id}`,
    )
  }

  #checkJob(run: Run, job: NonNullable<Run['job']>, target: string): void {
    const model = this.#oracle.jobs.get(job.id)
    const leased = this.#oracle.jobOfFence.get(job.fence)
    this.#check(
      model !== undefined && leased === job.id,
      'nothing invented',
      () => `run ${run.id}: fence ${job.fence} was leased for ${leased}, not ${job.id}`,
    )
    if (model === undefined) return
    this.#check(model.target === target, 'nothing altered', () => `${job.id} is for ${model.target}`)
    const twin = this.#runOfFence.get(job.fence)
    this.#check(twin === undefined, 'one request for each lease', () => `fence ${job.fence} as run ${twin?.id} and ${run.id}`)
    this.#runOfFence.set(job.fence, run)
    this.#check(job.attempt <= model.attempts, 'no more attempts than allowed', () => `${job.id}: ${job.attempt} of ${model.attempts}`)
    const again = model.succeededWith !== undefined && job.fence > model.succeededWith
    this.#check(
      !again,
      'what has succeeded is never sent again',
      () => `${job.id} fence ${job.fence}, succeeded with ${model.succeededWith}`,
    )
    if (model.sendOnce) this.#checkOnce(run, model)
    this.#checkTogether(run, model)
    this.#checkOrder(run, model)
  }

  /** Again only where the server said that it had not done it, or asked for it. */
  #checkOnce(run: Run, model: ModelJob): void {
    for (const before of this.#facts.runsOf(run.tag)) {
      if (before === run || before.job?.id !== model.id || before.mayBeSentAgain) continue
      this.#world.history.violated('what may be sent only once is not sent again', `${model.id}: run ${before.id} and ${run.id}`)
    }
  }

  /** In one life of a gateway, one at a time. */
  #checkTogether(run: Run, model: ModelJob): void {
    if (run.link?.gatewayOpen !== true) return
    for (const runs of this.#underWay.values()) {
      for (const other of runs) {
        if (other === run || other.job === undefined || other.link?.process !== run.link.process || !isUnderWay(other)) continue
        const rival = this.#oracle.jobs.get(other.job.id)
        const same =
          rival === model || (rival !== undefined && model.key !== undefined && rival.key === model.key && rival.queue === model.queue)
        this.#check(
          !same,
          'one attempt of a key at a time',
          () => `run ${other.id} of ${other.job?.id} and run ${run.id} of ${model.id}, key ${model.key}`,
        )
      }
    }
  }

  #checkOrder(run: Run, model: ModelJob): void {
    if (model.key === undefined || model.delayed || run.job === undefined) return
    for (const other of this.#oracle.jobsOfKey(model.queue, model.key)) {
      if (other === model || other.delayed) continue
      for (const before of this.#runsOfJob(other)) {
        const inOrder = before.fence < run.job.fence === other.id < model.id
        this.#check(
          inOrder,
          'a key runs in order of acceptance',
          () => `${other.id} with fence ${before.fence}, ${model.id} with ${run.job?.fence}`,
        )
      }
    }
  }

  #runsOfJob(job: ModelJob): readonly { readonly fence: number }[] {
    return this.#facts.runsOf(job.tag).flatMap((run) => (run.job?.id === job.id ? [run.job] : []))
  }

  /**
   * The store answers as it should: then a lease lapses only where nobody works on the job any more. A process that was stopped for longer than
   * a lease has to spare finds both over when it goes on, the attempt and its lease.
   */
  lapsed(job: ModelJob): void {
    // The exchange was over when its server deferred the end.
    if (job.deferred !== undefined) return
    const run = this.#facts.runsOf(job.tag).find((each) => each.job?.id === job.id && each.job.fence === job.lease?.fence)
    const process = run?.link?.process
    const working = run !== undefined && process?.alive === true && process.longestPauseMs < LEASE_SLACK_MS && isUnderWay(run)
    this.#check(!working, 'no lease lapses under an attempt', () => `${job.id} fence ${job.lease?.fence}, run ${run?.id}`)
  }

  // --- at the end

  ended(): void {
    for (const intent of this.#facts.intents.values()) this.#endedIntent(intent)
    this.#checkAcceptance()
    for (const job of this.#oracle.jobs.values()) {
      this.#check(job.place === 'ended', 'after the faults everything drains', () => `${job.id} is ${job.status}`)
    }
  }

  #endedIntent(intent: Intent): void {
    this.#check(!intent.waiting, 'every client gets an answer', () => `client ${intent.tag} still waits`)
    this.#check(
      intent.idempotencyKey === undefined ||
        intent.jobs.size <= 1 ||
        [...intent.jobs.keys()].some((id) => this.#oracle.jobs.get(id)?.forgotten),
      'one job per idempotency key',
      () => `${intent.tag} has ${[...intent.jobs.keys()].join(', ')}`,
    )
    for (const accepted of intent.jobs.values()) {
      const job = this.#oracle.jobs.get(accepted.id)
      this.#check(job !== undefined, 'accepted jobs are kept', () => `${accepted.id} of ${intent.tag} was accepted and is unknown`)
      const same = job === undefined || job.forgotten || job.status === accepted.status
      this.#check(same, 'a client sees how its job ended', () => `${accepted.id} is ${job?.status}, its client saw ${accepted.status}`)
    }
    for (const { jobId, status, body, streamed } of intent.results) {
      if (jobId === undefined) continue
      const job = this.#oracle.jobs.get(jobId)
      this.#check(
        !streamed || job?.status === 'succeeded',
        'an end that was told is not taken back',
        () => `${jobId} was answered ${status} to its end, and is ${job?.status}`,
      )
      if (job?.status !== 'succeeded') continue
      const run = this.#facts.runsOf(intent.tag).find((each) => each.job?.fence === job.succeededWith)
      const right = run?.answer?.status === status && run.answer.body === body
      this.#check(
        right,
        'one result per job',
        () => `${jobId} succeeded with run ${run?.id}, its client got ${status} ${body.slice(0, 60)}`,
      )
    }
  }

  /** Who was accepted before another was sent has the smaller id. */
  #checkAcceptance(): void {
    const accepted = [...this.#facts.intents.values()].flatMap((intent) => [...intent.jobs.values()]).toSorted((a, b) => a.at - b.at)
    let latest = ''
    const bySent = accepted.toSorted((a, b) => a.sentAt - b.sentAt)
    let at = 0
    for (const job of bySent) {
      while ((accepted[at]?.at ?? Number.POSITIVE_INFINITY) < job.sentAt) {
        const { id } = accepted[at++] as { id: string }
        if (id > latest) latest = id
      }
      // A repeat is answered with the job of the first time.
      const repeated = (this.#facts.intentOfJob.get(job.id)?.sentAt.length ?? 0) > 1
      this.#check(repeated || job.id > latest, 'ids are in order of acceptance', () => `${job.id} after ${latest}`)
    }
  }

  #check(holds: boolean, name: string, detail: () => string): void {
    this.#world.history.check(holds, name, detail)
  }
}
