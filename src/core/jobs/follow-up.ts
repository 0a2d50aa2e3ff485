/**
 * What is to be done when a job has ended: the text that is kept with it, of which the store knows nothing. Each feature has a member of its
 * own; what this version does not know stays as it is, and a text that is not of this form plans nothing.
 */
import { isMapping } from '../../lib/mapping.ts'
import type { EpochMillis } from '../../lib/units.ts'
import type { Then } from './then.ts'

export interface FollowUpPlan {
  /** Its result is sent on. */
  readonly then?: Then
  /** It is one of a batch; the first has the index 0, and the batch has the first one's id. */
  readonly batch?: { readonly index: number }
  /** Where its client wants to be told. */
  readonly callback?: string | undefined
}

const NOTHING: FollowUpPlan = {}

export function followUpPlan(text: string | undefined): FollowUpPlan {
  if (text === undefined) return NOTHING
  try {
    const plan: unknown = JSON.parse(text)
    return isMapping(plan) ? plan : NOTHING
  } catch {
    return NOTHING
  }
}

/** Undefined: nothing is to be done. */
export function followUpText(plan: FollowUpPlan): string | undefined {
  const text = JSON.stringify(plan)
  return text === '{}' ? undefined : text
}

/**
 * Tells one end of a job from the next, which it has when it is sent again, and from the one that it had before a backup was restored. What
 * happens to a job that stays ended, such as that it gives up its key, changes its version, but not this.
 */
export function endOf({ redrives, finishedAt = 0 }: { readonly redrives: number; readonly finishedAt?: EpochMillis | undefined }): string {
  return `${redrives}_${Math.floor(finishedAt)}`
}
