/**
 * Webhooks as one value: who is told, what is made of the end of a job, and its delivery. Without the section `webhooks` in the configuration
 * nothing of it is there, and whatever waits in its queue waits on.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config/config.ts'
import { asksForQueue } from '../core/webhooks/events.ts'
import type { EndedJob, FollowUp } from '../jobs/follow-ups.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { Millis } from '../lib/units.ts'
import type { Bus } from '../ports/bus.ts'
import type { Clock, Random } from '../ports/clock.ts'
import type { JobStore, QueueName, StoredJob } from '../ports/job-store.ts'
import type { Resolver } from '../ports/network.ts'
import { METRICS, type MetricName } from '../telemetry/names.ts'
import type { GaugeSample, Telemetry } from '../telemetry/telemetry.ts'
import { Deliverer } from './deliverer.ts'
import { Endpoints, type EndpointState } from './endpoints.ts'
import { type MakerSettings, WebhookMaker, type WebhookEvent, type WebhookJob } from './maker.ts'
import { Sender, type SenderParts, type SenderRules } from './sender.ts'

export interface WebhooksParts {
  readonly config: Config
  readonly store: Pick<JobStore, 'notes' | 'command'>
  readonly jobs: Pick<Jobs, 'queues'>
  readonly bus: Bus
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  readonly resolver: Resolver
  readonly agents?: SenderParts['agents']
  /** What clients see of a job that has ended. */
  readonly documentOf: (job: StoredJob) => Readonly<Record<string, unknown>>
}

export interface WebhookSettings extends MakerSettings {
  readonly sender: Sender
}

export class Webhooks {
  readonly endpoints: Endpoints
  readonly maker: WebhookMaker
  readonly #parts: WebhooksParts
  readonly #deliverer: Deliverer
  #settings: WebhookSettings | undefined

  constructor(parts: WebhooksParts) {
    this.#parts = parts
    this.#settings = this.#settingsOf(parts.config)
    this.endpoints = new Endpoints(parts, parts.config.webhooks)
    this.maker = new WebhookMaker({ endpoints: this.endpoints, documentOf: parts.documentOf })
    const { queues } = parts.jobs
    this.#deliverer = new Deliverer({ ...parts, queues, endpoints: this.endpoints, settings: () => this.#settings })
    this.#registerGauges()
  }

  /** Undefined: there are none. */
  get settings(): WebhookSettings | undefined {
    return this.#settings
  }

  /** What is kept in the store: to be done before any job can end. */
  async restore(): Promise<void> {
    await this.endpoints.restore()
    await this.endpointsChanged()
  }

  /** Holds when it resolves. */
  async reload(config: Config): Promise<void> {
    const before = this.#settings
    this.#settings = this.#settingsOf(config)
    this.endpoints.reload(config.webhooks)
    if (before === undefined && this.#settings !== undefined) await this.endpoints.restore()
    await this.endpointsChanged()
    this.#deliverer.wake()
  }

  /** The ends of jobs of these queues are kept for us, until we have made of them what follows. */
  async endpointsChanged(): Promise<void> {
    await this.#parts.jobs.queues.follow((queue) => this.#follows(queue))
  }

  #follows(queue: QueueName): boolean {
    const settings = this.#settings
    if (settings === undefined || queue === settings.queue.name) return false
    return this.endpoints.all().some(({ config }) => asksForQueue(config, queue))
  }

  /** A maker of follow-ups. */
  async followUp(ended: EndedJob): Promise<FollowUp | undefined> {
    return this.#settings === undefined ? undefined : this.maker.followUp(ended, this.#settings)
  }

  /** For whoever tells of something else than the end of a job (`batch.ended`): jobs to be submitted, each once, under a name of its own. */
  jobsFor(event: WebhookEvent): readonly WebhookJob[] {
    return this.#settings === undefined ? [] : this.maker.jobsTo(this.maker.recipientsOf(event), event, this.#settings)
  }

  start(): void {
    this.#deliverer.start()
  }

  /** Begins nothing more; what is on its way may arrive, for so long; the rest is handed back. */
  drain(timeoutMs: Millis): Promise<void> {
    return this.#deliverer.drain(timeoutMs)
  }

  async close(): Promise<void> {
    await this.drain(0)
    this.#settings?.sender.close()
  }

  #registerGauges(): void {
    const { telemetry, clock } = this.#parts
    const gauge = (name: MetricName, read: () => Iterable<GaugeSample>): void => telemetry.metrics.gauge(name, METRICS[name].help, read)
    const perEndpoint = (name: MetricName, value: (state: EndpointState) => number): void =>
      gauge(name, () =>
        this.endpoints.all().map(({ name: endpoint }) => ({ labels: { endpoint }, value: value(this.endpoints.stateOf(endpoint)) })),
      )
    perEndpoint('spillway_webhook_endpoint_disabled', ({ disabled }) => (disabled === undefined ? 0 : 1))
    perEndpoint('spillway_webhook_endpoint_failing_seconds', ({ failingSince: since }) => {
      return since === undefined ? 0 : Math.max(0, clock.now() - since) / 1000
    })
    gauge('spillway_webhooks_in_flight', () => (this.#settings === undefined ? [] : [{ value: this.#deliverer.inFlight }]))
  }

  /** What is on its way goes on under the rules that it began with; so do connections, which nobody uses then, and which close by themselves. */
  #settingsOf({ webhooks, queues }: Config): WebhookSettings | undefined {
    const queue = queues.find(({ name }) => name === webhooks?.queue)
    if (webhooks === undefined || queue === undefined) return undefined
    const known = this.#settings
    const sender = known !== undefined && sameRules(known.config, webhooks) ? known.sender : new Sender(this.#parts, webhooks)
    return { config: webhooks, queue, sender }
  }
}

function sameRules(known: SenderRules, wanted: SenderRules): boolean {
  const rules = ({ allow, https, connectTimeoutMs, answer }: SenderRules): unknown => ({ allow, https, connectTimeoutMs, answer })
  return isDeepStrictEqual(rules(known), rules(wanted))
}
