/** What a route does to its calls beside saying where they go: plain data, resolved from the configuration. */
import type { HeaderEdits } from './header-edits.ts'
import type { Template } from './template.ts'

export interface RouteActions {
  readonly rewrite?: Rewrite
  /** The gateway answers by itself: no server is asked. */
  readonly respond?: Redirect | FixedAnswer
  readonly request?: HeaderEdits
  readonly response?: HeaderEdits
  readonly serverTiming?: true
}

/** Of the target that servers see; the query stays as it came. */
export interface Rewrite {
  /** Taken away from the beginning of the path, which has it. */
  readonly strip?: string
  /** Put before what is left. */
  readonly prefix?: string
  /** Instead of the path. */
  readonly path?: Template
  /** Instead of Host. */
  readonly host?: string
}

export interface Redirect {
  readonly kind: 'redirect'
  readonly status: 301 | 302 | 303 | 307 | 308
  readonly to: Template
}

export interface FixedAnswer {
  readonly kind: 'answer'
  readonly status: number
  /** Name, value, …: checked, without what frames the message. */
  readonly headers: readonly string[]
  readonly body: string | Uint8Array
}
