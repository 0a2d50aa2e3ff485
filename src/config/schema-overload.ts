/** What a configuration file may hold about too much to do: how requests wait for a slot, and who is refused first. A part of `schema.ts`. */
import * as z from 'zod'
import * as field from './fields.ts'

const adaptive = z.strictObject({
  target: field.span
    .optional()
    .describe(
      'So long may the oldest one wait before a line is too slow. Default: a twentieth of `wait`, 100ms. Old ones are let go after twice that.',
    ),
  interval: field.span
    .optional()
    .describe('When that was so at every turn for so long, the line stands. Default: a quarter of `wait`, 500ms.'),
})

export const queueing = z
  .union([z.enum(['adaptive', 'fifo']), adaptive])
  .default('adaptive')
  .describe(
    'In which order requests wait for a slot. `adaptive`: first come first served; but in a line of more than 16 that stands the newest goes first, and old ones get their 503 early. `fifo`: always first come first served, and everybody waits for all of `wait`.',
  )

const shedding = z.strictObject({
  from: field.percent.prefault('50%').describe('Of `maxWaiting`: from here on it begins.'),
})

export const poolShed = z
  .union([field.off, shedding])
  .prefault({})
  .describe(
    'While the line fills up, requests of low priority are refused first: priority p as soon as the line is fuller than from + (1 - from) × ∛((p + 1) / 10), 9 only when it is full. Only where a route of the pool sets or allows `priority`.',
  )

const delays = z.strictObject({
  from: field.span.prefault('200ms').describe('From here on it is too much.'),
  full: field.span.prefault('800ms').describe('Here everything is refused.'),
})

const shares = (
  from: string,
  full: string,
): z.ZodType<{ from: number; full: number }, { from?: string | undefined; full?: string | undefined }> =>
  z.strictObject({
    from: field.share.prefault(from).describe('From here on it is too much.'),
    full: field.share.prefault(full).describe('Here everything is refused.'),
  })

const guardRules = z.strictObject({
  loopDelay: z
    .union([field.off, delays])
    .prefault({})
    .describe('How late the event loop is, on average over half a second: so much is added to everything.'),
  memory: z
    .union([field.off, shares('80%', '95%')])
    .prefault({})
    .describe(
      "Resident memory, of the container's limit or of the machine's; or the JavaScript heap, of its own limit: whichever is nearer.",
    ),
  sockets: z
    .union([field.off, shares('80%', '95%')])
    .prefault({})
    .describe('Open file descriptors, of those that the process may have (Linux from 6.2 on).'),
})

export const guard = z
  .union([field.off, guardRules])
  .prefault({})
  .describe(
    'What the gateway does when it has more to do itself than it can. From `from` on new connections are let in slowly, from a third of the way to `full` on requests get a quick 503, the least urgent first (`priority`). Health, metrics, the admin address, reports of servers and what was accepted go on. Or `off`.',
  )

const tunnels = z.strictObject({
  max: field.count(0, 10_000_000).optional().describe('Of the route at once; one more is refused with 503. Left out: no limit.'),
  perClient: field
    .count(1, 10_000_000)
    .optional()
    .describe('Of one client at once (see `limits.perClient`); one more is refused with 429. Left out: no limit.'),
  connectRate: field.rate
    .optional()
    .describe('How fast they may be opened, such as `50/s`; beyond it 503 with a time to come back. Left out: no limit.'),
  idle: field.span.optional().describe('A tunnel without a byte either way is ended after so long. Default: `timeouts.tunnel`.'),
})

export const routeTunnels = tunnels
  .optional()
  .describe('Limits for its tunnels (WebSocket and other upgrades), beside `maxTunnels` of the pool. Checked before a server is asked.')

export const rebalanceTunnels = z
  .union([field.off, field.rate])
  .default('off')
  .describe(
    'When a server has come up, and its `slowStart` is over, as many tunnels of the others as are its share are ended gently, the oldest first, at most so fast (`10/s`), so that their clients come back to it. `off`: tunnels stay where they are.',
  )

export const priority = field
  .count(0, 9)
  .optional()
  .describe(
    'How urgent its requests are where the client does not say it (`allow: [priority]`), 9 first: who gets the next slot, and who is refused last. One turn of eight goes to those below. Default: 5 for requests that are served at once, 0 for jobs.',
  )
