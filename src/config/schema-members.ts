/** What a configuration file may hold about who is in a pool, and how servers come and go; a part of each pool in `schema.ts`. */
import * as z from 'zod'
import * as field from './fields.ts'

const addresses = z.enum(['all', 'ipv4', 'ipv6'])

interface MemberKeys {
  readonly drainTimeout: z.ZodPrefault<typeof field.spanOrNever>
  readonly addresses: z.ZodDefault<typeof addresses>
}

export const memberKeys: MemberKeys = {
  addresses: addresses
    .default('all')
    .describe('Which addresses of host names are servers of this pool. Each is one by itself, with checks, slots and a state of its own.'),
  drainTimeout: field.spanOrNever
    .prefault('5m')
    .describe(
      'How long requests, attempts and tunnels on a server that was taken out of the pool may go on; then they are broken off. Or `never`.',
    ),
}
