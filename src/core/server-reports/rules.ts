/** Which reports of servers a pool heeds. */
import type { DrainRules } from './drain-wish.ts'
import type { LoadRules } from './reported-load.ts'

export interface ServerReportRules {
  /** Absent: what they say of their load changes nothing. */
  readonly load?: LoadRules
  /** Absent: what they wish changes nothing. */
  readonly drain?: DrainRules
}
