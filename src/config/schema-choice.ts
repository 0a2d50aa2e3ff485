/** What a file may say about which pool and which server a request gets, beside how a pool balances. */
import * as z from 'zod'
import * as field from './fields.ts'

const failover = z.strictObject({
  pool: field.name.describe('Which pool stands in.'),
  when: z
    .enum(['down', 'full'])
    .default('down')
    .describe('`down`: when no server of its own is up, or left for the request. `full`: also when none has a free slot.'),
})

const share = z.strictObject({
  pool: field.name.describe('Its name.'),
  weight: field.count(0, 10_000).describe('Its share, compared with the other pools of the list. 0: it gets nobody new.'),
})

export const poolOfRouteSchema = z
  .union([z.string(), z.array(share).min(1)])
  .describe(
    'Whose servers take the requests. May be left out when there is only one pool. Or a list, each with its `weight`: `[{ pool: stable, weight: 95 }, { pool: canary, weight: 5 }]`; not on a queue route, whose queue has one pool.',
  )

export const splitBySchema = field.balanceSource.describe(
  'With a list of pools: who shows the same gets the same pool, written like the `hash` of a pool: `address`, `cookie:session`, `header:X-Account`, `query:id`, `path:id`, `path`. When weights change, only the changed share of them moves. Left out, or nothing to show: each request draws.',
)

export const failoverSchema = z
  .union([field.name, failover])
  .describe(
    'The pool that gets its direct requests and tunnels while it has no server up, and so on along the chain. Jobs wait for their own pool. A name, or a mapping.',
  )
