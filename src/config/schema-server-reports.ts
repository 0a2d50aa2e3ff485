/** What a configuration file may hold about what servers say of themselves; the `serverReports` of each pool in `schema.ts`. */
import * as z from 'zod'
import * as field from './fields.ts'

const load = z.strictObject({
  floor: field.share
    .prefault('10%')
    .describe('However loaded a server says it is, it keeps so much of its weight. More than 0%: nobody starves by what it says.'),
  expire: field.span.prefault('10s').describe('A server that has said nothing for so long has its own weight again.'),
})

const drain = z.strictObject({
  max: field.span
    .prefault('5m')
    .describe('A wish to be drained holds for so long at most after it was last heard, so that one which nobody takes back ends.'),
})

const heeded = z.strictObject({
  load: z
    .union([field.off, load])
    .prefault({})
    .describe(
      '`Spillway-Load: 0.8` in an answer: the share of who is twice as loaded as the middle one of the pool is halved; nobody gets more than twice its weight. Or `off`.',
    ),
  drain: z
    .union([field.off, drain])
    .prefault({})
    .describe(
      '`Spillway-Drain: now` (until a check does not ask for it), `Spillway-Drain: 60s` or `Spillway-Drain: off` in an answer: nothing new goes to who asks for that, unless all do. Or `off`.',
    ),
})

export const serverReports = z
  .union([field.off, heeded])
  .prefault({})
  .describe(
    'What is heeded of what servers say of themselves, in any answer to a request, a job or a check; see [pools](../pools.md#by-what-they-say-of-themselves). `off`: nothing.',
  )
