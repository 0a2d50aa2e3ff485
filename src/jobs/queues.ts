/**
 * The queues by themselves, as the queue API uses them: send, receive, settle, look, mend, and the definitions that it makes. Whatever it does
 * has the same consequences as when the gateway's own servers do it: watchers hear of it, who waits is woken, what is due is on time.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Config, QueueConfig } from '../config/config.ts'
import type { Millis } from '../lib/units.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock } from '../ports/clock.ts'
import type {
  BrowsePage,
  BrowseRequest,
  CommandOutcome,
  Ending,
  JobCommand,
  JobError,
  JobId,
  JobStore,
  KeysRequest,
  KeyState,
  Lease,
  LeaseOutcome,
  LeaseRef,
  LeaseRequest,
  NewJob,
  QueueName,
  QueueRules,
  QueueStats,
  ReadJob,
  ReadWant,
  ScheduleState,
  SettleOutcome,
  StoredJob,
  Submitted,
  TaskState,
} from '../ports/job-store.ts'
import { receiveCounters, type ReceiveCounters } from '../telemetry/receive-counters.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { type DefinedQueue, Definitions, storedText } from './definitions.ts'
import { type Asker, type Received, type ReceiveRequest, Receivers } from './receivers.ts'
import { Purges } from './purges.ts'
import { restoredQueue } from './restore.ts'
import { scheduleCommands } from './schedules.ts'
import { Settling } from './settling.ts'
import { Topics } from './topics.ts'

export interface QueuesParts {
  readonly config: Config
  readonly store: JobStore
  readonly bus: Bus
  readonly clock: Clock
  readonly telemetry: Telemetry
}

/** What the rest of the durable half does for it. */
export interface QueuesHooks {
  submit(jobs: readonly NewJob[]): Promise<readonly Submitted[]>
  /** What follows from a command that changed a job. */
  changed(job: StoredJob): void
  ended(job: StoredJob, tookMs: Millis): void
  dueIn(delayMs: Millis): void
  /** The store gave less than was asked for. */
  short(queue: QueueConfig): void
  /** An attempt of the job, or of its key, is still under way here. */
  clashes(lease: Lease): boolean
  /** Its servers are to work it off by these settings; undefined: no longer. */
  dispatch(name: QueueName, queue: QueueConfig | undefined): void
}

/** What of a configuration that was read again is durable now, and waits for the moment in which all of it begins to hold. */
export interface PreparedReload {
  apply(): void
}

export type PutOutcome = 'made' | 'changed' | 'in-file' | 'too-many'
export type DropOutcome = 'dropped' | 'in-file' | 'not-empty' | 'missing'

/**
 * After these the store's clockwork has something to do, or to tell: whose turn it is where a job has gone that held its key. Of that queue the outcome
 * says nothing.
 */
const MOVES_ON: ReadonlySet<JobCommand['kind']> = new Set(['begin', 'schedule', 'forget', 'move', 'redrive'])

export class Queues {
  readonly topics: Topics
  readonly #parts: QueuesParts
  readonly #hooks: QueuesHooks
  readonly #definitions: Definitions
  readonly #receivers: Receivers
  readonly #settling: Settling
  readonly #purges: Purges
  readonly #counters = new Map<QueueName, ReceiveCounters>()
  #config: Config
  #follows: (queue: QueueName) => boolean = () => false
  #unsubscribe: (() => void) | undefined

  constructor(parts: QueuesParts, hooks: QueuesHooks) {
    const { config, store, bus, clock } = parts
    this.#parts = parts
    this.#config = config
    this.#hooks = hooks
    this.#definitions = new Definitions(config.queues)
    this.topics = new Topics(store, config.topics)
    this.#settling = new Settling(parts, hooks)
    this.#purges = new Purges(store)
    const { api } = config
    const receiving = { waitingMax: api.receiversMax, bytesMax: api.body }
    this.#receivers = new Receivers(store, clock, receiving, {
      clashes: (lease) => hooks.clashes(lease),
      handBack: (leases) => this.handBack(leases),
      leased: (_, leases, leaseMs) => this.#leased(leases, leaseMs),
      short: (queue) => hooks.short(this.configOf(queue)),
    })
    this.#unsubscribe = bus.subscribe((event) => {
      if (event.kind === 'ready') this.#receivers.wake(event.queue)
    })
  }

  /** Queues that the API made before, and what belongs to the configuration: to be done before anybody asks. */
  async restore(): Promise<void> {
    const { store, telemetry, clock } = this.#parts
    const config = this.#config
    for (const { queue: name, definition } of await store.stats()) {
      if (this.#definitions.get(name) !== undefined) continue
      const restored = restoredQueue(name, definition, config)
      if (restored.problem !== undefined) telemetry.event({ type: 'warning', message: `queue ${name}: ${restored.problem}` })
      this.#definitions.set(restored.queue)
      this.#hooks.dispatch(name, restored.queue.config)
    }
    await this.topics.restore()
    const commands = await scheduleCommands(store, config, clock.now())
    if (typeof commands === 'string') throw new Error(commands)
    await this.#carryOut(commands)
    await this.#purges.restore()
  }

  /** Rejects when the engine failed. A text: what is wrong; nothing has changed then. */
  async prepareReload(config: Config): Promise<PreparedReload | string> {
    const { store, clock } = this.#parts
    const changed = config.queues.filter((queue) => !this.#isKept(queue))
    const scheduled = await scheduleCommands(store, config, clock.now())
    if (typeof scheduled === 'string') return scheduled
    // In one commit: schedules need their queues.
    await this.#carryOut([
      ...changed.map(
        ({ name, limits, rules }): JobCommand => ({ kind: 'configure', queue: name, limits, rules: this.#rulesOf(name, rules) }),
      ),
      ...scheduled,
    ])
    return { apply: () => this.#reload(config) }
  }

  #reload(config: Config): void {
    const before = new Map([...this.#definitions.all()].map((queue) => [queue.config.name, queue.config]))
    const changedPools = onlyInOne(this.#config.pools, config.pools)
    this.#config = config
    for (const name of this.#definitions.reload(config.queues)) {
      const { queue } = restoredQueue(name, undefined, config)
      this.#definitions.set(queue)
      this.#hooks.dispatch(name, queue.config)
    }
    this.topics.reload(config.topics)
    for (const queue of config.queues) {
      if (isDeepStrictEqual(before.get(queue.name), queue)) continue
      this.#hooks.dispatch(queue.name, queue)
      this.#receivers.wake(queue.name)
    }
    // Those of the API stay, and are worked off again when their pool comes back.
    for (const { config: queue } of this.#definitions.all())
      if (queue.pool !== undefined && changedPools.has(queue.pool)) this.#hooks.dispatch(queue.name, queue)
  }

  /** The store has it so already. */
  #isKept({ name, limits, rules }: QueueConfig): boolean {
    const known = this.#definitions.get(name)
    return known?.origin === 'file' && isDeepStrictEqual([known.config.limits, known.config.rules], [limits, rules])
  }

  async #carryOut(commands: readonly JobCommand[]): Promise<void> {
    if (commands.length === 0) return
    const outcomes = await this.#parts.store.command(commands)
    for (const [i, outcome] of outcomes.entries()) {
      const command = commands[i] as JobCommand
      const name = command.kind === 'schedule' ? command.schedule.name : ''
      if (outcome.kind === 'refused') this.#parts.telemetry.event({ type: 'warning', message: `schedule ${name}: ${outcome.detail}` })
    }
    this.#hooks.dueIn(0)
  }

  /** From the end of each job of these queues something follows, from now on. Resolved = durable. */
  async follow(follows: (queue: QueueName) => boolean): Promise<void> {
    this.#follows = follows
    const changed = (await this.#parts.store.stats()).filter(({ queue, rules }) => (rules.followUps === true) !== follows(queue))
    await this.#carryOut(
      changed.map(({ queue, limits, rules, definition }): JobCommand => {
        return { kind: 'configure', queue, limits, rules: this.#rulesOf(queue, rules), ...(definition !== undefined && { definition }) }
      }),
    )
  }

  #rulesOf(queue: QueueName, { followUps: _, ...rules }: QueueRules): QueueRules {
    return this.#follows(queue) ? { ...rules, followUps: true } : rules
  }

  find(name: QueueName): DefinedQueue | undefined {
    return this.#definitions.get(name)
  }

  all(): Iterable<DefinedQueue> {
    return this.#definitions.all()
  }

  /** Pull consumers that wait for a job. */
  receiversOf(name: QueueName): number {
    return this.#receivers.waitingAt(name)
  }

  // --- definitions

  async put(config: QueueConfig, document: unknown): Promise<PutOutcome> {
    const known = this.#definitions.get(config.name)
    if (known?.origin === 'file') return 'in-file'
    if (known?.origin !== 'api' && this.#definitions.made >= this.#config.api.queuesMax) return 'too-many'
    const { name: queue, limits, rules } = config
    await this.#parts.store.command([
      { kind: 'configure', queue, limits, rules: this.#rulesOf(queue, rules), definition: storedText('api', document) },
    ])
    this.#definitions.set({ config, origin: 'api', document })
    this.#hooks.dispatch(queue, config)
    this.#receivers.wake(queue)
    return known === undefined || known.origin === 'none' ? 'made' : 'changed'
  }

  /** A subscription may be on its way to a queue that is there still. */
  drop(name: QueueName): Promise<DropOutcome> {
    return this.topics.inTurn(() => this.#drop(name))
  }

  async #drop(name: QueueName): Promise<DropOutcome> {
    const known = this.#definitions.get(name)
    if (known === undefined) return 'missing'
    if (known.origin === 'file') return 'in-file'
    if (this.topics.uses(name)) return 'not-empty'
    const outcome = await this.command({ kind: 'drop', queue: name })
    if (outcome.kind === 'refused') return 'not-empty'
    this.#definitions.delete(name)
    this.#counters.delete(name)
    this.#hooks.dispatch(name, undefined)
    return 'dropped'
  }

  // --- work

  /** Resolved = durable. Rejects when the engine failed. */
  async send(jobs: readonly NewJob[]): Promise<readonly Submitted[]> {
    return jobs.length === 0 ? [] : this.#hooks.submit(jobs)
  }

  async receive(request: ReceiveRequest, asker: Asker): Promise<Received> {
    const received = await this.#receivers.receive(request, asker)
    if (received.kind === 'received') this.#countersOf(request.queue)[received.leases.length > 0 ? 'filled' : 'empty'].inc()
    return received
  }

  /** For who works on jobs in this process: the leases end with it. Rejects when the engine failed. */
  async lease(request: LeaseRequest): Promise<readonly Lease[]> {
    const [leases = []] = await this.#parts.store.lease([request])
    if (leases.length < request.max) this.#hooks.short(this.configOf(request.queue))
    if (leases.length > 0) this.#leased(leases, request.leaseMs)
    return leases
  }

  settle(queue: QueueConfig, settlements: readonly Ending[]): Promise<readonly SettleOutcome[]> {
    return this.#settling.settle(queue, settlements)
  }

  /** Its lease was over: an attempt that is made again. */
  lapsed(job: StoredJob, error: JobError): void {
    this.#settling.lapsed(job, error)
  }

  /** Nobody works on them, and it was no attempt. */
  handBack(leases: readonly Lease[]): void {
    const first = leases[0]
    if (first !== undefined) this.#settling.handBack(this.configOf(first.job.queue), leases)
  }

  async extend(leases: readonly LeaseRef[], forMs: Millis): Promise<readonly LeaseOutcome[]> {
    if (leases.length === 0) return []
    const outcomes = await this.#parts.store.extend(leases, forMs)
    this.#hooks.dueIn(forMs)
    return outcomes
  }

  // --- looking

  stats(): Promise<readonly QueueStats[]> {
    return this.#parts.store.stats()
  }

  browse(request: BrowseRequest): Promise<BrowsePage> {
    return this.#parts.store.browse(request)
  }

  read(ids: readonly JobId[], want: ReadWant): Promise<readonly (ReadJob | undefined)[]> {
    return this.#parts.store.read(ids, want)
  }

  keys(request: KeysRequest): Promise<readonly KeyState[]> {
    return this.#parts.store.keys(request)
  }

  schedules(): Promise<readonly ScheduleState[]> {
    return this.#parts.store.schedules()
  }

  tasks(): Promise<readonly TaskState[]> {
    return this.#parts.store.tasks()
  }

  // --- mending

  /** Resolved = durable. Who waits for what it frees is woken. */
  async command(command: JobCommand): Promise<CommandOutcome> {
    const outcome = (await this.#parts.store.command([command]))[0] as CommandOutcome
    if (outcome.kind !== 'done') return outcome
    if (outcome.job !== undefined) this.#hooks.changed(outcome.job)
    if (MOVES_ON.has(command.kind)) this.#hooks.dueIn(0)
    if (command.kind === 'redrive' && command.delayMs !== undefined) this.#hooks.dueIn(command.delayMs)
    const queue = outcome.job?.queue ?? ('queue' in command ? command.queue : undefined)
    if (queue !== undefined) this.#parts.bus.publish({ kind: 'ready', queue })
    return outcome
  }

  /** Cancels all that waits, then forgets all that ended. The outcome tells the number of the first task. */
  async purge(queue: QueueName): Promise<CommandOutcome> {
    const outcome = await this.#purges.begin(queue)
    this.#hooks.dueIn(0)
    return outcome
  }

  /** The store's clockwork has moved. */
  async ticked(): Promise<void> {
    if (await this.#purges.check()) this.#hooks.dueIn(0)
  }

  wakeAll(): void {
    this.#receivers.wakeAll()
  }

  /** Nothing more is handed out, and nobody waits any more. */
  close(): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
    this.#receivers.close()
  }

  /** Also of one that is no longer defined: its jobs are there still. */
  configOf(name: QueueName): QueueConfig {
    return (this.#definitions.get(name) ?? restoredQueue(name, undefined, this.#config).queue).config
  }

  #leased(leases: readonly Lease[], leaseMs: Millis): void {
    this.#hooks.dueIn(leaseMs)
    for (const { job } of leases) this.#parts.bus.publish({ kind: 'job', job })
  }

  #countersOf(queue: QueueName): ReceiveCounters {
    let counters = this.#counters.get(queue)
    if (counters === undefined) {
      counters = receiveCounters(this.#parts.telemetry.metrics, queue)
      this.#counters.set(queue, counters)
    }
    return counters
  }
}

/** Names that stand in one of them alone. */
function onlyInOne(before: readonly { readonly name: string }[], now: readonly { readonly name: string }[]): ReadonlySet<string> {
  const names = new Set(before.map(({ name }) => name))
  for (const { name } of now) if (!names.delete(name)) names.add(name)
  return names
}
