/** What a configuration file may hold about direct requests that are sent to more than one server: a part of `schema.ts`. */
import * as z from 'zod'
import * as field from './fields.ts'

const reason = z.union([z.enum(['connect-failure', 'reset', 'timeout', '5xx']), field.count(400, 599)])

const backoff = z.strictObject({
  base: field.duration.prefault('25ms').describe('Longest pause before the second try; each further one is twice as long.'),
  max: field.duration.prefault('250ms').describe('The longest pause. Each is drawn from the whole of it: full jitter.'),
})

const retry = z.strictObject({
  on: z
    .array(reason)
    .prefault(['connect-failure', 'reset'])
    .describe(
      'After what: `connect-failure` (nothing was sent: any method), `reset` (the connection broke, or what came was no HTTP), `timeout` (no answer within `firstByte`), a status such as `503`, or `5xx` for all of these. What may have reached a server is only sent again if its method is one of `methods`.',
    ),
  attempts: field.count(1, 100).optional().describe('Tries in all. Default: one for each server, at least three.'),
  backoff: backoff.prefault({}).describe('Pause before a try, unless nothing was sent and another server is left.'),
  methods: z
    .array(field.method)
    .min(1)
    .optional()
    .describe(
      'What may be done twice. Default: the idempotent ones, which are GET, HEAD, OPTIONS, PUT, DELETE. Naming POST here means that a server may get a POST which another one has already carried out.',
    ),
  maxBody: field.size.optional().describe('How much of a body is copied, so that it can be sent again. Default: `limits.spillCopy`.'),
})

export const retrySchema = z.union([field.off, retry])

export const hedgeSchema = z.strictObject({
  after: z
    .union([field.span, field.quantile])
    .describe(
      'When the first server has not begun to answer for so long: a time such as `100ms`, or `p95`, which is what 95 of 100 requests of the route take, as it was learnt from the last 500.',
    ),
})

export const mirrorSchema = z.strictObject({
  pool: z.string().describe('Whose servers get the copies. They can tell them by `Spillway-Mirror: true`.'),
  share: field.share.prefault('100%').describe('Of the requests that are sent to a server.'),
  methods: z
    .array(field.method)
    .min(1)
    .optional()
    .describe('Only requests with these methods. Left out: all, those that change something too.'),
  timeout: field.span.prefault('10s').describe('A copy that takes longer is broken off.'),
})

export type ParsedRetry = z.output<typeof retrySchema>
