/**
 * Webhooks: endpoints with their secrets, and the queue in which they wait, which is like any other but that nobody else may fill it or work
 * it off. For those of the file, and for documents that come over the API.
 */
import type * as z from 'zod'
import { isLoopbackAddress, refusedAddress, readAllowList } from '../core/webhooks/addresses.ts'
import type { Bytes, Millis } from '../lib/units.ts'
import type { EndpointConfig, QueueConfig, WebhooksConfig } from './config.ts'
import type { Path } from './problem.ts'
import type { Report } from './report.ts'
import { QUEUE_DEFAULTS } from './schema.ts'
import { resolveQueue } from './resolve-queues.ts'
import type { endpointSchema, webhooksSchema } from './schema-webhooks.ts'

export type ParsedEndpoint = z.output<typeof endpointSchema>
type ParsedWebhooks = z.output<typeof webhooksSchema>

/** Of endpoints that the API makes, as a rule. */
const TIMEOUT_DEFAULT_MS: Millis = 30_000
/** A byte of a result is at most six characters in JSON (`\u0000`). */
const JSON_GROWTH_MAX = 6
/** What else a webhook says, with room to spare. */
const PAYLOAD_REST_MAX: Bytes = 256 * 1024
/** Said by the one who signs and sends. */
const OWN_HEADERS: ReadonlySet<string> = new Set([
  ...['host', 'connection', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'expect'],
  ...['content-type', 'user-agent', 'webhook-id', 'webhook-timestamp', 'webhook-signature'],
])

export function resolveWebhooks(
  webhooks: ParsedWebhooks,
  queueNames: readonly string[],
  report: Report,
): { readonly config: WebhooksConfig; readonly queue: QueueConfig } {
  const { allow, https, callbacks, queue: name } = webhooks
  const path: Path = ['webhooks']
  const endpoints = Object.entries(webhooks.endpoints).map(([endpoint, parsed]) => {
    const at = [...path, 'endpoints', endpoint]
    for (const problem of endpointProblems(parsed, { allow, https })) report.error({ ...problem, path: [...at, ...problem.path] })
    const secrets = secretsOf(parsed, at, report)
    return resolveEndpoint(endpoint, parsed, secrets)
  })
  if (queueNames.includes(name)) {
    const message = `a route or queues has a queue "${name}" already; call the one in which webhooks wait otherwise`
    report.error({ path: [...path, 'queue'], message }, [['queues'], ['routes']])
  }
  const roomMin = JSON_GROWTH_MAX * webhooks.inline + PAYLOAD_REST_MAX
  if (webhooks.limits.bytes < roomMin) {
    const message = `must be at least ${roomMin} bytes: a webhook that did not fit would wait for ever, and others behind it (webhooks.inline)`
    report.error({ path: [...path, 'limits', 'bytes'], message }, [[...path, 'inline']])
  }
  const config: WebhooksConfig = {
    endpoints,
    ...(callbacks !== undefined && {
      callbacks: {
        urls: callbacks.urls,
        secrets: secretsOf(callbacks, [...path, 'callbacks'], report),
        timeoutMs: callbacks.timeout,
      },
    }),
    allow,
    https,
    queue: name,
    retriesMs: webhooks.retries,
    connectTimeoutMs: webhooks.connectTimeout,
    concurrency: webhooks.concurrency,
    disableAfterMs: webhooks.disableAfter,
    inline: webhooks.inline,
    answer: webhooks.answer,
    endpointsMax: webhooks.endpointsMax,
  }
  return { config, queue: queueFor(webhooks, report) }
}

/** Endpoints are its tenants: they take turns. */
function queueFor(webhooks: ParsedWebhooks, report: Report): QueueConfig {
  const { queue: name, keep, keepDead, limits, retries, concurrency, endpointConcurrency } = webhooks
  const running = { maxRunning: concurrency, tenantMaxRunning: endpointConcurrency, timeout: longestTimeout(webhooks) }
  const settings = { keep, keepDead, limits, attempts: retries.length + 1, ...running }
  return resolveQueue(name, {}, { ...QUEUE_DEFAULTS, ...settings, pull: false }, report)
}

/** For those who watch how long something runs. */
function longestTimeout({ endpoints, callbacks }: ParsedWebhooks): Millis {
  return Math.max(TIMEOUT_DEFAULT_MS, callbacks?.timeout ?? 0, ...Object.values(endpoints).map(({ timeout }) => timeout))
}

function secretsOf({ secret, secrets }: Pick<ParsedEndpoint, 'secret' | 'secrets'>, path: Path, report: Report): readonly string[] {
  if (secret !== undefined && secrets !== undefined) {
    report.error({ path: [...path, 'secrets'], message: 'there is a secret, too; list all of them here' }, [[...path, 'secret']])
  }
  if (secret === undefined && secrets === undefined) {
    const message = 'needs a secret; make one with: echo "whsec_$(openssl rand -base64 32)"'
    report.error({ path, message, onKey: true }, [
      [...path, 'secret'],
      [...path, 'secrets'],
    ])
  }
  return secrets ?? (secret === undefined ? [] : [secret])
}

export function resolveEndpoint(name: string, parsed: ParsedEndpoint, secrets: readonly string[]): EndpointConfig {
  const { url, events, queues, routes, order, timeout, headers } = parsed
  return {
    name,
    url,
    secrets,
    events,
    ...(queues !== undefined && { queues }),
    ...(routes !== undefined && { routes }),
    order,
    timeoutMs: timeout,
    headers,
  }
}

/** What its form does not show. `rules`: of where it may be; undefined: that is not asked. */
export function endpointProblems(
  { url, headers, signature, secret, secrets }: ParsedEndpoint,
  rules: Pick<WebhooksConfig, 'allow' | 'https'> | undefined,
): { readonly path: Path; readonly message: string }[] {
  const problems: { path: Path; message: string }[] = []
  const wrong = rules === undefined ? undefined : wrongTarget(url, rules)
  if (wrong !== undefined) problems.push({ path: ['url'], message: wrong })
  for (const [name, value] of Object.entries(headers)) {
    if (OWN_HEADERS.has(name)) problems.push({ path: ['headers', name], message: 'is said by Spillway itself; leave it out' })
    else if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) problems.push({ path: ['headers', name], message: 'must be printable Latin-1' })
  }
  if (signature !== undefined && (secret ?? secrets) !== undefined) {
    problems.push({ path: ['signature'], message: 'is said by the secrets: whsec_ signs v1, whsk_ signs v1a; leave it out' })
  }
  return problems
}

/** What can be known before the name is resolved; the connector looks again, at the address. */
function wrongTarget(text: string, { allow, https }: Pick<WebhooksConfig, 'allow' | 'https'>): string | undefined {
  const url = new URL(text.replaceAll(/\{[^{}]*\}/g, 'x'))
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const isLoopback = host === 'localhost' || isLoopbackAddress(host)
  if (url.protocol === 'http:' && https === 'required' && !isLoopback) return 'must begin with https:// (webhooks.https: required)'
  if (!/^[\d.]+$|:/.test(host)) return undefined
  const refused = refusedAddress(host, host, readAllowList(allow))
  return refused === undefined ? undefined : `is ${refused}; name it in webhooks.allow`
}
