/** How servers are checked; the `health` of each pool in `schema.ts`. */
import * as z from 'zod'
import * as field from './fields.ts'

const status = z.union([field.count(100, 599), field.statusRange])

export const health = z.strictObject({
  path: field.target.optional().describe('What is asked for. Left out: a TCP connection is the check.'),
  method: z.enum(['GET', 'HEAD']).default('GET').describe('How.'),
  headers: z.record(field.headerName, field.headerValue).default({}).describe('Sent with it; `host` instead of that of the server.'),
  status: z
    .array(status)
    .min(1)
    .prefault(['2xx', '3xx'])
    .describe('Which answers are healthy: `[200, 204]`, `["200-299"]`, `["2xx"]`. Any other one is a failure.'),
  body: z.string().min(1).max(1024).optional().describe('The first 64 KiB of the answer must have this text in them.'),
  port: field.count(1, 65_535).optional().describe('Asked instead of the port that requests go to.'),
  interval: field.span.prefault('2s').describe('Between two checks of a server.'),
  fastInterval: field.span
    .optional()
    .describe('The same while it is down, or while a check speaks against its state. Default: a quarter of `interval`.'),
  jitter: field.percent
    .prefault('5%')
    .describe('So much earlier or later, by chance, so that gateways do not all ask at once. At most 50%.'),
  timeout: field.span.prefault('1s').describe('A check that takes longer has failed.'),
  fall: field.count(1, 100).default(3).describe('Failures in a row until a server is down.'),
  rise: field.count(1, 100).default(2).describe('Successes in a row until it is up again.'),
  initial: z
    .enum(['unknown', 'up'])
    .default('unknown')
    .describe(
      'Until its first check a server gets nothing (`unknown`), or counts as up: then a gateway that starts serves at once, and may find out late.',
    ),
})
