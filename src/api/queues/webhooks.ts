/**
 * Webhook endpoints over the queue API: those that are made here, and what can be done with all of them. Secrets are told once, when they are made.
 * Whoever makes an endpoint gets what its queues tell, so it needs the right to look into them.
 */
import { isName, readEndpointDocument } from '../../config/documents.ts'
import type { ApiRight, EndpointConfig, WebhooksConfig } from '../../config/config.ts'
import { type Failure, failure, isFailure } from '../../core/errors.ts'
import { CALLBACK } from '../../webhooks/maker.ts'
import { isMapping } from '../../lib/mapping.ts'
import type { Millis } from '../../lib/units.ts'
import type { StoredJob } from '../../ports/job-store.ts'
import type { Endpoint } from '../../webhooks/endpoints.ts'
import { type ReplayParts, replayAll, replayFailed, resend, sendTest, type Sent } from '../../webhooks/replay.ts'
import { type KeptSecret, kindOf, newSecret, publicKeyOf, type SignatureKind } from '../../webhooks/signature.ts'
import type { WebhookSettings } from '../../webhooks/webhooks.ts'
import { inFile } from './define.ts'
import { queryFilter, readFilter } from './filter.ts'
import { timeText } from './job-view.ts'
import { countOf, LIMIT_DEFAULT, LIMIT_MAX } from './look.ts'
import { type ApiParts, DOCUMENT_BYTES_MAX, mayNot, missingRight, noSuchJob } from './parts.ts'
import { otherField } from './receive.ts'
import { type ApiRequest, invalid, json, NO_CONTENT, NOBODY, type Outcome, readDocument } from './request.ts'
import { readDuration } from '../../core/jobs/job-document.ts'

/** A secret that has been replaced signs on for so long. */
const OVERLAP_MS: Millis = 24 * 3_600_000
const OVERLAP_MAX_MS: Millis = 30 * 24 * 3_600_000
/** Rotating faster than they run out ends the oldest. */
const SECRETS_MAX = 10
/** Of jobs, that one call to replay all looks at. */
const REPLAY_PAGES = 20

export function listWebhooks(request: ApiRequest, parts: ApiParts): Outcome {
  const settings = settingsFor(request, parts, 'browse')
  if (isFailure(settings)) return settings
  const shown = parts.webhooks.endpoints.all().filter(({ config }) => mayNotHear(request, config) === undefined)
  return json(200, { endpoints: shown.map((endpoint) => endpointView(parts, endpoint)) })
}

export function showWebhook(request: ApiRequest, parts: ApiParts, name: string): Outcome {
  const endpoint = endpointFor(request, parts, name, 'browse')
  return isFailure(endpoint) ? endpoint : json(200, endpointView(parts, endpoint))
}

export async function putWebhook(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  if (!isName(name)) return invalid('A name is 1 to 64 letters, digits, "-", "_" or ".", and begins with a letter or digit.')
  const settings = settingsFor(request, parts, 'manage')
  if (isFailure(settings)) return settings
  const read = await documentOf(request, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const document = readEndpointDocument(name, read, settings.config)
  if ('wrong' in document) return invalid(`${document.wrong}.`)
  const { endpoint: config, signature } = document.value
  const refused = mayNotHear(request, config)
  if (refused !== undefined) return refused
  const { endpoints } = parts.webhooks
  return endpoints.inTurn(async () => {
    const known = endpoints.get(name)
    // Its secrets and what is on its way to it come with it.
    const notTheirs = known === undefined ? undefined : mayNotHear(request, known.config)
    if (notTheirs !== undefined) return notTheirs
    if (known?.origin === 'file') return inFile('webhook endpoint')
    if (known === undefined && endpoints.made >= settings.config.endpointsMax) return tooMany(settings.config)
    const given = config.secrets.map((secret) => ({ secret }))
    const kept = given.length > 0 ? given : known?.secrets
    const secrets = kept ?? kindsOf(signature).map((kind) => ({ secret: newSecret(kind, parts.random) }))
    const made = await endpoints.set({ ...config, secrets: [] }, withoutSecrets(read), secrets)
    await parts.webhooks.endpointsChanged()
    return json(known === undefined ? 201 : 200, {
      ...endpointView(parts, made),
      ...(kept === undefined && { newSecrets: textsOf(secrets) }),
    })
  })
}

export function dropWebhook(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const { endpoints } = parts.webhooks
  return endpoints.inTurn(async () => {
    const endpoint = endpointFor(request, parts, name, 'manage')
    if (isFailure(endpoint)) return endpoint
    if (endpoint.origin === 'file') return inFile('webhook endpoint')
    await endpoints.drop(name)
    await parts.webhooks.endpointsChanged()
    return NO_CONTENT
  })
}

/** New secrets, of the kinds that there are; the old ones sign on for a while. */
export async function rotateSecret(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const read = await documentOf(request, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const other = otherField(read, ['overlap'])
  if (other !== undefined) return invalid(other)
  const overlapMs = read['overlap'] === undefined ? OVERLAP_MS : readDuration(read['overlap'])
  if (overlapMs === undefined || overlapMs > OVERLAP_MAX_MS) return invalid('overlap: must be a duration such as "24h", at most 30d.')
  const { endpoints } = parts.webhooks
  return endpoints.inTurn(async () => {
    const endpoint = endpointFor(request, parts, name, 'manage')
    if (isFailure(endpoint)) return endpoint
    if (endpoint.origin === 'file') return inFile('webhook endpoint')
    const until = parts.clock.now() + overlapMs
    const before = endpoint.secrets.map((kept): KeptSecret => ({ ...kept, until: Math.min(kept.until ?? until, until) }))
    const kinds = [...new Set(endpoint.secrets.filter((kept) => kept.until === undefined).map(({ secret }) => kindOf(secret)))]
    const fresh = kinds.map((kind) => ({ secret: newSecret(kind, parts.random) }))
    const made = await endpoints.set(endpoint.config, endpoint.document, [...fresh, ...before].slice(0, SECRETS_MAX))
    return json(200, { ...endpointView(parts, made), newSecrets: textsOf(fresh) })
  })
}

export async function switchWebhook(request: ApiRequest, parts: ApiParts, name: string, to: 'enable' | 'disable'): Promise<Outcome> {
  const read = await documentOf(request, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const { endpoints } = parts.webhooks
  return endpoints.inTurn(async () => {
    const endpoint = endpointFor(request, parts, name, 'manage')
    if (isFailure(endpoint)) return endpoint
    await (to === 'enable' ? endpoints.enable(name) : endpoints.disable(name, 'an operator disabled it'))
    return json(200, endpointView(parts, endpoint))
  })
}

export async function testWebhook(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const read = await documentOf(request, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const endpoint = endpointFor(request, parts, name, 'manage')
  return isFailure(endpoint) ? endpoint : sentReply(await sendTest(replayParts(parts), endpoint))
}

/** The webhooks of an endpoint, newest first. What became of each attempt, and what was answered, is told where jobs are shown. */
export async function listDeliveries(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const endpoint = endpointFor(request, parts, name, 'browse')
  if (isFailure(endpoint)) return endpoint
  const { query } = request
  const filter = queryFilter(query)
  if (typeof filter === 'string') return invalid(filter)
  const max = countOf(query, 'limit', LIMIT_DEFAULT, LIMIT_MAX)
  if (typeof max === 'string') return invalid(max)
  const after = query.get('after')
  if (after !== null && !/^[0-9a-z]{1,32}$/.test(after)) return invalid('after: must be what `next` of the page before was.')
  const queue = parts.webhooks.settings?.queue.name ?? ''
  const asked = { filter: { ...filter, queue, tenant: name }, newestFirst: true, max, ...(after !== null && { after }) }
  const { jobs, next } = await parts.jobs.queues.browse(asked)
  return json(200, { deliveries: jobs.map(deliveryView), ...(next !== undefined && { next }) })
}

/** `{ "webhook": "<id>" }`: one that has ended goes out again. */
export async function resendWebhook(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const read = await documentOf(request, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const { webhook: id } = read
  if (typeof id !== 'string' || otherField(read, ['webhook']) !== undefined) return invalid('Send { "webhook": "<its id>" }.')
  const isCallback = name === CALLBACK && parts.webhooks.endpoints.get(name) === undefined
  const endpoint = isCallback ? undefined : endpointFor(request, parts, name, 'manage')
  if (endpoint !== undefined && isFailure(endpoint)) return endpoint
  const settings = settingsFor(request, parts, 'manage')
  if (isFailure(settings)) return settings
  const job = (await parts.jobs.queues.read([id], 'status'))[0]?.job
  const isOf = isCallback ? job?.tenant?.startsWith(`${CALLBACK} `) === true : job?.tenant === name
  if (job === undefined || job.queue !== settings.queue.name || !isOf) return noSuchJob()
  return sentReply(await resend(replayParts(parts), job, endpoint))
}

/** `{ }`: all that was given up, `since` a time. `{ "all": true, "since": … }`: whatever happened since, had or not. */
export async function replayWebhooks(request: ApiRequest, parts: ApiParts, name: string): Promise<Outcome> {
  const read = await documentOf(request, parts)
  if (read === undefined) return NOBODY
  if (isFailure(read)) return read
  const other = otherField(read, ['since', 'all', 'after'])
  if (other !== undefined) return invalid(other)
  const filter = readFilter(read['since'] === undefined ? {} : { since: read['since'] })
  if (typeof filter === 'string') return invalid(`${filter.replace('filter.', '')}.`)
  const { all = false, after } = read
  if (typeof all !== 'boolean') return invalid('all: must be true or false.')
  if (after !== undefined && (typeof after !== 'string' || !/^[\w.-]{1,64}(\/[0-9a-z]{1,32})?$/.test(after)))
    return invalid('after: must be what `next` of the answer before was.')
  const endpoint = endpointFor(request, parts, name, 'manage')
  if (isFailure(endpoint)) return endpoint
  if (parts.webhooks.endpoints.isDisabled(name)) return failure('wrong_state', 'The endpoint is disabled; enable it first.')
  if (all) {
    if (filter.since === undefined) return invalid('since: is needed with all: from when on?')
    const page = await replayAll(replayParts(parts), endpoint, {
      since: filter.since,
      pages: REPLAY_PAGES,
      ...(after !== undefined && { after }),
    })
    return typeof page === 'string' ? failure('queue_full', page, 1) : json(200, page)
  }
  const outcome = await replayFailed(replayParts(parts), endpoint, filter.since)
  if (outcome.kind === 'refused') return failure('wrong_state', `${outcome.detail}.`)
  return json(202, { task: outcome.kind === 'done' ? outcome.task : undefined })
}

// --- what all of them ask first

function settingsFor({ caller }: ApiRequest, { webhooks }: ApiParts, right: ApiRight): WebhookSettings | Failure {
  const { settings } = webhooks
  if (settings === undefined) return failure('webhooks_off', 'The configuration has no section webhooks; an empty one is enough.')
  const refused = mayNot(caller, right, settings.queue.name)
  return refused === undefined ? settings : missingRight(right)
}

function endpointFor(request: ApiRequest, parts: ApiParts, name: string, right: ApiRight): Endpoint | Failure {
  const settings = settingsFor(request, parts, right)
  if (isFailure(settings)) return settings
  const endpoint = parts.webhooks.endpoints.get(name)
  if (endpoint === undefined) return failure('no_such_webhook', 'There is no webhook endpoint of this name.')
  return mayNotHear(request, endpoint.config) ?? endpoint
}

/** Whoever may change where it goes gets what it tells. A pattern is within another one if its text is. */
function mayNotHear({ caller }: ApiRequest, { queues = ['*'] }: Pick<EndpointConfig, 'queues'>): Failure | undefined {
  const hidden = queues.find((pattern) => !caller.may('browse', pattern))
  return hidden === undefined
    ? undefined
    : failure('forbidden', `The key may not browse ${hidden === '*' ? 'all queues' : hidden}; name its queues.`)
}

function tooMany({ endpointsMax }: WebhooksConfig): Failure {
  return failure('too_many_webhooks', `${endpointsMax} endpoints were made here, as many as there may be (webhooks.endpointsMax).`)
}

/** Undefined: the client has gone. */
async function documentOf(request: ApiRequest, parts: ApiParts): Promise<Readonly<Record<string, unknown>> | Failure | undefined> {
  const read = await readDocument(request, DOCUMENT_BYTES_MAX, parts)
  if (read === undefined || isFailure(read)) return read
  return isMapping(read.value) ? read.value : invalid('The body must be an object, or empty.')
}

function replayParts({ jobs, webhooks, clock, random }: ApiParts): ReplayParts {
  return { jobs, webhooks, clock, random }
}

function sentReply(sent: Sent): Outcome {
  switch (sent.kind) {
    case 'sent':
      return json(202, { webhook: sent.webhook })
    case 'gone':
      return failure('wrong_state', 'The job that it told of is no longer kept as it was then.')
    case 'not-possible':
      return failure('wrong_state', sent.detail)
  }
}

// --- how they look

function kindsOf(signature: 'v1' | 'v1a' | 'both'): readonly SignatureKind[] {
  return signature === 'both' ? ['v1', 'v1a'] : [signature]
}

function textsOf(secrets: readonly KeptSecret[]): readonly string[] {
  return secrets.map(({ secret }) => secret)
}

function withoutSecrets({ secret: _, secrets: __, signature: ___, ...document }: Readonly<Record<string, unknown>>): unknown {
  return document
}

/** Of secrets only what a receiver may know, and until when they sign; of headers only their names. */
function endpointView({ webhooks }: ApiParts, endpoint: Endpoint): Record<string, unknown> {
  const { name, origin, config, secrets } = endpoint
  const { url, events, queues, routes, order, timeoutMs, headers } = config
  const { disabled, failingSince } = webhooks.endpoints.stateOf(name)
  return {
    name,
    definedIn: origin,
    url,
    events,
    queues,
    routes,
    order,
    timeoutMs,
    headers: Object.keys(headers),
    secrets: secrets.map(({ secret, until }) => ({ signature: kindOf(secret), publicKey: publicKeyOf(secret), until: timeText(until) })),
    enabled: disabled === undefined,
    disabledAt: timeText(disabled?.at),
    disabledBecause: disabled?.reason,
    failingSince: timeText(failingSince),
  }
}

function deliveryView(job: StoredJob): Record<string, unknown> {
  return {
    webhook: job.id,
    event: job.reference,
    status: job.status,
    attempt: job.attempt,
    attempts: job.attempts,
    submittedAt: timeText(job.submittedAt),
    finishedAt: timeText(job.finishedAt),
    nextAt: timeText(job.notBefore),
    dead: job.dead,
    error: job.error,
    key: job.key,
  }
}
