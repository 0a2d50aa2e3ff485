/** What a configuration file may hold about webhooks. The API reads its documents by the same. */
import * as z from 'zod'
import { WEBHOOK_EVENTS } from '../core/webhooks/events.ts'
import * as field from './fields.ts'
import { queueLimits } from './schema-queues.ts'

const MILLION = 1_000_000
/** Every event is compared with each of them. */
const NAMES_MAX = 100

const secrets = {
  secret: field.webhookSecret
    .optional()
    .describe(
      'What its webhooks are signed with: `whsec_` and 24 to 64 random bytes in base64 (signature `v1`), or an Ed25519 key, `whsk_…` (`v1a`).',
    ),
  secrets: z
    .array(field.webhookSecret)
    .min(1)
    .max(10)
    .optional()
    .describe('Instead of `secret`: each of them signs, so that a receiver may know the old one or the new one while they are changed.'),
}

export const endpointSchema = z.strictObject({
  url: field.webhookUrl.describe(
    'Where they are sent. `{id}`, `{type}`, `{queue}`, `{status}` and `{reference}` in its path or query are filled in.',
  ),
  ...secrets,
  signature: z
    .enum(['v1', 'v1a', 'both'])
    .optional()
    .describe('Which secrets are made where none is given, over the API. Default: `v1`. Otherwise the secrets say it.'),
  events: z
    .array(z.enum(WEBHOOK_EVENTS))
    .min(1)
    .default([...WEBHOOK_EVENTS])
    .describe('Which events it gets.'),
  queues: z
    .array(field.queuePattern)
    .min(1)
    .max(NAMES_MAX)
    .optional()
    .describe('Of which queues, by name, `*` at the end stands for anything. Left out: all.'),
  routes: z
    .array(z.string().min(1))
    .min(1)
    .max(NAMES_MAX)
    .optional()
    .describe('Of which routes, by their match as written, `*` at the end stands for anything. Left out: all.'),
  order: z
    .enum(['none', 'key'])
    .default('none')
    .describe('`key`: events of jobs of one key arrive one after the other, in order; one that fails holds back those behind it.'),
  timeout: field.span.prefault('30s').describe('One attempt, from the connection to the end of the answer.'),
  headers: z
    .record(field.headerName, z.string())
    .default({})
    .describe('Sent along, such as a token that the receiver asks for. Never shown.'),
})

const callbacks = z.strictObject({
  urls: z
    .array(field.urlPattern)
    .min(1)
    .describe('What `Spillway-Callback` may name: `https://*.example.com/hooks/*`. A callback that matches none is refused with 400.'),
  ...secrets,
  timeout: field.span.prefault('30s').describe('One attempt, from the connection to the end of the answer.'),
})

export const webhooksSchema = z.strictObject({
  endpoints: z
    .record(field.name, endpointSchema)
    .prefault({})
    .describe('Who is told when jobs end, by name. More can be made over the API.'),
  callbacks: callbacks.optional().describe('For routes that `allow: [callback]`: clients name where they are told.'),
  allow: z
    .array(field.networkOrHost)
    .default([])
    .describe(
      'Addresses, networks and host names that webhooks may reach although they are not public, such as `10.0.0.0/8`, `hooks.internal`.',
    ),
  https: z
    .enum(['required', 'optional'])
    .default('required')
    .describe('`required`: http only to loopback addresses that `allow` names. `optional`: http, too.'),
  queue: field.name
    .default('webhooks')
    .describe(
      'The queue in which they wait. No other queue may be called so. What waits where it was called otherwise stays there: move it with `spillway jobs move`.',
    ),
  retries: z
    .array(field.span)
    .min(1)
    .max(100)
    .prefault(['5s', '5m', '30m', '2h', '5h', '10h', '10h'])
    .describe('Pauses between attempts, ±20 %; after the last one a webhook is a dead letter.'),
  connectTimeout: field.span.prefault('10s').describe('Resolving the name and connecting, TLS included.'),
  concurrency: field.count(1, 10_000).default(64).describe('Webhooks on their way at once.'),
  endpointConcurrency: field.count(1, 10_000).default(8).describe('Of these, to one endpoint.'),
  disableAfter: field.span.prefault('5d').describe('An endpoint that has only failed for so long is disabled.'),
  inline: field.size.prefault('20KiB').describe('A larger result is not sent along; the link to it is.'),
  answer: field.size.prefault('20KiB').describe('So much of what a receiver answers is kept.'),
  endpointsMax: field.count(0, MILLION).default(1000).describe('Endpoints that are made over the API; one more is refused with 409.'),
  keep: field.span.prefault('3d').describe('How long delivered webhooks can be looked at.'),
  keepDead: field.span.prefault('14d').describe('How long those that could not be delivered can be sent again.'),
  limits: queueLimits
    .prefault({})
    .describe(
      'How much the queue may hold. Where it is full, ended jobs wait until it is not. `bytes` is at least 6 times `inline` and 256 KiB.',
    ),
})
