/** Topics: names under which one job is sent to several queues, and who subscribes to them. */
import type { ApiRight, SubscriptionConfig } from '../../config/config.ts'
import { isName, readSubscriptionDocument } from '../../config/documents.ts'
import { defaultQueue } from '../../config/resolve-queues.ts'
import { type Failure, failure, isFailure } from '../../core/errors.ts'
import type { Topic } from '../../jobs/topics.ts'
import { isMapping } from '../../lib/mapping.ts'
import { inFile, tooManyQueues } from './define.ts'
import { type ApiParts, DOCUMENT_BYTES_MAX, mayNot, missingRight, noSuchQueue } from './parts.ts'
import { type ApiRequest, invalid, json, NO_CONTENT, NOBODY, type Outcome, readDocument } from './request.ts'
import { topicDestination } from './destination.ts'
import { sendTo } from './send.ts'

export async function publish(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const topic = topicFor(request, parts, name, 'send')
  return isFailure(topic) ? topic : sendTo(request, parts, topicDestination(parts, topic, request.caller))
}

export function listTopics(request: ApiRequest, parts: ApiParts): Outcome {
  const shown = [...parts.jobs.queues.topics.all()].filter((topic) => refusedRight(request, parts, topic, 'browse') === undefined)
  return json(200, { topics: shown.map(topicView) })
}

/** Makes it; what it has already, stays. */
export async function putTopic(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  if (!isName(name)) return invalid('A name is 1 to 64 letters, digits, "-", "_" or ".", and begins with a letter or digit.')
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  if (!isMapping(read.value) || Object.keys(read.value).length > 0)
    return invalid('A topic has no settings; its subscriptions have addresses of their own.')
  const { topics } = parts.jobs.queues
  return topics.inTurn(async () => {
    const known = topics.get(name)
    const refused = known === undefined ? undefined : refusedRight(request, parts, known, 'manage')
    if (refused !== undefined) return refused
    if (known === undefined && !mayOnSome(request, parts, 'manage')) return missingRight('manage')
    if (known?.origin === 'file') return inFile('topic')
    const topic = known ?? (await topics.set(name, []))
    return json(known === undefined ? 201 : 200, topicView(topic))
  })
}

export function dropTopic(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const { topics } = parts.jobs.queues
  return topics.inTurn(async () => {
    const topic = changeable(request, parts, name)
    if (isFailure(topic)) return topic
    await topics.drop(name)
    return NO_CONTENT
  })
}

export async function putSubscription(request: ApiRequest, parts: ApiParts, topicName: string, name: string): Promise<Outcome> {
  const before = changeable(request, parts, topicName)
  if (isFailure(before)) return before
  if (!isName(name)) return invalid('A name is 1 to 64 letters, digits, "-", "_" or ".", and begins with a letter or digit.')
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const subscription = readSubscriptionDocument(topicName, name, read.value, parts.config)
  if ('wrong' in subscription) return invalid(`${subscription.wrong}.`)
  const { value } = subscription
  const { topics } = parts.jobs.queues
  return topics.inTurn(async () => {
    // While the body came, others may have changed the topic.
    const topic = changeable(request, parts, topicName)
    if (isFailure(topic)) return topic
    const known = topic.subscriptions.has(name)
    const { subscriptions: most } = parts.config.limits
    if (!known && topic.subscriptions.size >= most) return invalid(`A topic has at most ${most} subscriptions (limits.subscriptions).`)
    const refused = await prepareQueue(request, parts, value)
    if (refused !== undefined) return refused
    await topics.set(topicName, [...othersOf(topic, name), value])
    return json(known ? 200 : 201, { ...value, topic: topicName })
  })
}

function othersOf({ subscriptions }: Topic, name: string): readonly SubscriptionConfig[] {
  return [...subscriptions.values()].filter((each) => each.name !== name)
}

/** A queue of its own is made where the subscription names none. */
async function prepareQueue(request: ApiRequest, parts: ApiParts, { queue }: SubscriptionConfig): Promise<Failure | undefined> {
  const refused = mayNot(request.caller, 'manage', queue)
  if (refused !== undefined) return refused
  const known = parts.jobs.queues.find(queue)
  if (known !== undefined && known.origin !== 'none') return undefined
  if (!queue.includes('.') || !isName(queue)) return noSuchQueue()
  return (await parts.jobs.queues.put(defaultQueue(queue), {})) === 'too-many' ? tooManyQueues(parts) : undefined
}

export async function dropSubscription(request: ApiRequest, parts: ApiParts, topicName: string, name: string): Promise<Outcome> {
  const { topics } = parts.jobs.queues
  return topics.inTurn(async () => {
    const topic = changeable(request, parts, topicName)
    if (isFailure(topic)) return topic
    if (!topic.subscriptions.has(name)) return failure('no_such_topic', 'The topic has no such subscription.')
    await topics.set(topicName, othersOf(topic, name))
    return NO_CONTENT
  })
}

/** One that was made here, and that the caller may change. */
function changeable(request: ApiRequest, parts: ApiParts, name: string): Topic | Failure {
  const topic = topicFor(request, parts, name, 'manage')
  return !isFailure(topic) && topic.origin === 'file' ? inFile('topic') : topic
}

function topicFor(request: ApiRequest, parts: ApiParts, name: string, right: ApiRight): Topic | Failure {
  const topic = parts.jobs.queues.topics.get(name)
  if (topic === undefined) return failure('no_such_topic', 'There is no topic of this name.')
  return refusedRight(request, parts, topic, right) ?? topic
}

/** The right is needed on all of its queues; on any, where it has none. A topic of whose queues the caller sees none is not there. */
function refusedRight(request: ApiRequest, parts: ApiParts, topic: Topic, right: ApiRight): Failure | undefined {
  const { caller } = request
  if (topic.subscriptions.size === 0) return mayOnSome(request, parts, right) ? undefined : missingRight(right)
  const queues = [...topic.subscriptions.values()].map(({ queue }) => queue)
  if (queues.every((queue) => caller.may(right, queue))) return undefined
  return queues.some((queue) => caller.sees(queue)) ? missingRight(right) : failure('no_such_topic', 'There is no topic of this name.')
}

function mayOnSome({ caller }: ApiRequest, parts: ApiParts, right: ApiRight): boolean {
  return caller.name === '' || [...parts.jobs.queues.all()].some(({ config }) => caller.may(right, config.name))
}

function topicView(topic: Topic): Record<string, unknown> {
  return { name: topic.name, definedIn: topic.origin, subscriptions: [...topic.subscriptions.values()] }
}
