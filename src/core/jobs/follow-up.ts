/** What a job says of what is to follow from its end: a JSON object with a member for each thing that may follow. Written and read here only. */
import { isMapping } from '../../lib/mapping.ts'

export interface FollowUpWishes {
  /** Where its client wants to be told. */
  readonly callback?: string | undefined
}

/** Undefined: nothing is to follow. */
export function followUpText(wishes: FollowUpWishes): string | undefined {
  return Object.values(wishes).every((wish) => wish === undefined) ? undefined : JSON.stringify(wishes)
}

/** What was not written by us wishes nothing. */
export function readFollowUp(text: string | undefined): FollowUpWishes {
  if (text === undefined) return {}
  try {
    const value: unknown = JSON.parse(text)
    return isMapping(value) && typeof value['callback'] === 'string' ? { callback: value['callback'] } : {}
  } catch {
    return {}
  }
}
