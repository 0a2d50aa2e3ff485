/** What a pool heeds of what its servers say of themselves. Nothing at all is left out as a whole. */
import type { ServerReportRules } from '../core/server-reports/rules.ts'
import type { POOL_DEFAULTS } from './schema.ts'

export function resolveServerReports(reports: (typeof POOL_DEFAULTS)['serverReports']): { readonly serverReports?: ServerReportRules } {
  if (reports === 'off') return {}
  const { load, drain } = reports
  if (load === 'off' && drain === 'off') return {}
  return {
    serverReports: {
      ...(load !== 'off' && { load: { floor: load.floor, expireMs: load.expire } }),
      ...(drain !== 'off' && { drain: { maxMs: drain.max } }),
    },
  }
}
