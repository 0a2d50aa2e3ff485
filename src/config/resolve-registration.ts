/** Of a pool whose servers register themselves: what must fit together. */
import type { HostPort } from './config.ts'
import type { RegistrationConfig } from './config-registration.ts'
import type { Report } from './report.ts'
import type { registrationSchema } from './schema-registration.ts'
import type * as z from 'zod'

type Parsed = z.output<typeof registrationSchema>

export function resolveRegistration(
  pool: string,
  parsed: Parsed | undefined,
  report: Report,
): { readonly registration?: RegistrationConfig } {
  if (parsed === undefined) return {}
  const { tokens, max, ttlMin, ttlMax } = parsed
  const path = ['pools', pool, 'registration']
  if (ttlMin > ttlMax) report.error({ path: [...path, 'ttlMin'], message: 'is more than ttlMax' }, [[...path, 'ttlMax']])
  return { registration: { tokens, max, ttlMinMs: ttlMin, ttlMaxMs: ttlMax } }
}

interface WithTokens {
  readonly admin: { readonly address: HostPort; readonly token?: string | undefined }
  readonly pools: readonly { readonly name: string; readonly registration?: RegistrationConfig }[]
}

/** Who could register with the operators' token could do everything. */
export function checkTokens({ admin, pools }: WithTokens, report: Report): void {
  for (const { name, registration } of pools)
    for (const [i, token] of (registration?.tokens ?? []).entries())
      if (token === admin.token)
        report.error(
          { path: ['pools', name, 'registration', 'tokens', i], message: 'is admin.token, which allows everything; make another one' },
          [['admin', 'token']],
        )
}
