/**
 * What is to be done when a job has ended: the text that is kept with it, of which the store knows nothing. Each feature has a member of its
 * own; what this version does not know stays as it is, and a text that is not of this form plans nothing.
 */
import { isMapping } from '../../lib/mapping.ts'

export interface FollowUpPlan {
  /** Where its client wants to be told. */
  readonly callback?: string
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
