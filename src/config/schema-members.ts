/** What a configuration file may hold about who is in a pool, and how servers come and go; a part of each pool in `schema.ts`. */
import type * as z from 'zod'
import * as field from './fields.ts'

interface MemberKeys {
  readonly drainTimeout: z.ZodPrefault<typeof field.spanOrNever>
}

export const memberKeys: MemberKeys = {
  drainTimeout: field.spanOrNever
    .prefault('5m')
    .describe(
      'How long requests, attempts and tunnels on a server that was taken out of the pool may go on; then they are broken off. Or `never`.',
    ),
}
