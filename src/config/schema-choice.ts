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

export const failoverSchema = z
  .union([field.name, failover])
  .describe(
    'The pool that gets its direct requests and tunnels while it has no server up, and so on along the chain. Jobs wait for their own pool. A name, or a mapping.',
  )
