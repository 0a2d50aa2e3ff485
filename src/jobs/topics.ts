/**
 * Topics: names under which one job is sent to several queues. Kept in memory, and, where the API made them, as notes in the store. Which
 * subscriptions get a copy is decided by headers and by fields of the payload.
 */
import type { Scalar, SubscriptionConfig, TopicConfig, TopicFilter } from '../config/config.ts'
import type { JobDocument } from '../core/jobs/job-document.ts'
import { asDouble } from '../lib/exact-json.ts'
import { pointedTo } from '../lib/json-pointer.ts'
import type { JobStore, NewJob } from '../ports/job-store.ts'
import { type Origin, storedDefinition, storedText } from './definitions.ts'

const NOTE = 'topic/'

export interface Topic {
  readonly name: string
  readonly origin: Origin
  /** By name. */
  readonly subscriptions: ReadonlyMap<string, SubscriptionConfig>
}

export class Topics {
  readonly #store: Pick<JobStore, 'notes' | 'command'>
  /** Those of the configuration hide those of the same name. */
  #inFile: ReadonlyMap<string, Topic>
  readonly #made = new Map<string, Topic>()
  #lastTurn: Promise<unknown> = Promise.resolve()

  constructor(store: Pick<JobStore, 'notes' | 'command'>, topics: readonly TopicConfig[]) {
    this.#store = store
    this.#inFile = topicsOf(topics)
  }

  reload(topics: readonly TopicConfig[]): void {
    this.#inFile = topicsOf(topics)
  }

  async restore(): Promise<void> {
    for (const { name: note, text } of await this.#store.notes(NOTE)) {
      const name = note.slice(NOTE.length)
      const stored = storedDefinition(text)
      if (stored === undefined) continue
      this.#made.set(name, topicOf(name, 'api', stored.document as readonly SubscriptionConfig[]))
    }
  }

  get(name: string): Topic | undefined {
    return this.#inFile.get(name) ?? this.#made.get(name)
  }

  all(): Iterable<Topic> {
    return new Map([...this.#made, ...this.#inFile]).values()
  }

  /** Does a subscription name the queue? */
  uses(queue: string): boolean {
    return [...this.all()].some(({ subscriptions }) => [...subscriptions.values()].some((each) => each.queue === queue))
  }

  /** One after the other: whoever changes a topic begins with what the change before has left. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#lastTurn.then(work)
    this.#lastTurn = turn.catch(() => undefined)
    return turn
  }

  /** Resolved = durable. */
  async set(name: string, subscriptions: readonly SubscriptionConfig[]): Promise<Topic> {
    await this.#store.command([{ kind: 'note', name: NOTE + name, text: storedText('api', subscriptions) }])
    const topic = topicOf(name, 'api', subscriptions)
    this.#made.set(name, topic)
    return topic
  }

  async drop(name: string): Promise<void> {
    await this.#store.command([{ kind: 'note', name: NOTE + name }])
    this.#made.delete(name)
  }
}

function topicsOf(topics: readonly TopicConfig[]): ReadonlyMap<string, Topic> {
  return new Map(topics.map(({ name, subscriptions }) => [name, topicOf(name, 'file', subscriptions)]))
}

function topicOf(name: string, origin: Origin, subscriptions: readonly SubscriptionConfig[]): Topic {
  return { name, origin, subscriptions: new Map(subscriptions.map((each) => [each.name, each])) }
}

/** `payload`: asked for once, and only if a filter wants to know. */
export function matching(topic: Topic, document: JobDocument, request: NewJob['request']): readonly SubscriptionConfig[] {
  let payload: unknown
  let read = false
  const payloadOf = (): unknown => {
    if (!read) payload = payloadOfJob(document, request)
    read = true
    return payload
  }
  return [...topic.subscriptions.values()].filter(({ filter }) => filter === undefined || meets(filter, request.headers, payloadOf))
}

function meets(filter: TopicFilter, headers: readonly string[], payloadOf: () => unknown): boolean {
  for (const [name, wanted] of Object.entries(filter.headers)) {
    if (!headersMeet(headers, name, typeof wanted === 'string' ? [wanted] : wanted)) return false
  }
  for (const [pointer, wanted] of Object.entries(filter.fields)) {
    const values: readonly Scalar[] = Array.isArray(wanted) ? (wanted as readonly Scalar[]) : [wanted as Scalar]
    const found = asDouble(pointedTo(payloadOf(), pointer))
    if (!values.some((value) => value === found)) return false
  }
  return true
}

function headersMeet(headers: readonly string[], name: string, wanted: readonly string[]): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] as string).toLowerCase() === name && wanted.includes(headers[i + 1] as string)) return true
  }
  return false
}

function payloadOfJob(document: JobDocument, { body }: NewJob['request']): unknown {
  if (document.bodyKind === 'json') return document.body
  try {
    return JSON.parse(Buffer.from(body).toString('utf8'))
  } catch {
    return undefined
  }
}
