/** What a configuration file may hold about servers that register themselves; the `registration` of each pool in `schema.ts`. */
import * as z from 'zod'
import * as field from './fields.ts'

const token = z.string().min(16, { error: 'must have at least 16 characters; make one with: openssl rand -hex 32' })

type RegistrationShape = {
  readonly tokens: z.ZodArray<typeof token>
  readonly max: z.ZodDefault<ReturnType<typeof field.count>>
  readonly ttlMin: z.ZodPrefault<typeof field.span>
  readonly ttlMax: z.ZodPrefault<typeof field.span>
}

export const registrationSchema: z.ZodObject<RegistrationShape, z.core.$strict> = z.strictObject({
  tokens: z
    .array(token)
    .min(1)
    .max(8)
    .describe(
      'What servers send as `Authorization: Bearer …`, at least 16 characters each. They allow nothing else; several, so that they can be changed.',
    ),
  max: field.count(1, 10_000).default(100).describe('Servers of the pool that are registered at once; one more is refused with 409.'),
  ttlMin: field.span.prefault('5s').describe('The shortest `ttl` that a server may ask for.'),
  ttlMax: field.span.prefault('5m').describe('The longest one: a server that died is a member of the pool for so long.'),
})
