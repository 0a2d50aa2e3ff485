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

export const priority = field
  .count(0, 9)
  .optional()
  .describe(
    'How urgent its requests are where the client does not say it (`allow: [priority]`), 9 first: who gets the next slot, and who is refused last. One turn of eight goes to those below. Default: 5 for requests that are served at once, 0 for jobs.',
  )
