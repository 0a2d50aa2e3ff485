/**
 * Times by a cron expression in a time zone: whether it is one, and when it is due next. No timers, no clock: whoever asks says when it is.
 * A time of day that the change to summer time leaves out is due at the first moment after the gap, one that comes twice is due once;
 * what runs many times a day (`*`, lists, ranges, steps in hours or minutes) follows the real time instead and is neither made up nor left out.
 */
import { Cron } from 'croner'
import type { EpochMillis } from './units.ts'

export interface CronTimes {
  /** The first due time after that moment; undefined: never again. */
  next(after: EpochMillis): EpochMillis | undefined
}

export type CronReading = { readonly times: CronTimes } | { readonly wrong: string }

const EXPRESSION_LENGTH_MAX = 128
const ZONE_LENGTH_MAX = 64
/** Five fields, or six with seconds in front; or the name of a usual one. */
const FORM = /^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[\w*,/#-]+( +[\w*,/#-]+){4,5})$/i

export function readCron(expression: string, timeZone: string): CronReading {
  const text = expression.trim()
  if (text.length > EXPRESSION_LENGTH_MAX) return { wrong: `a cron expression has at most ${EXPRESSION_LENGTH_MAX} characters` }
  if (!FORM.test(text)) {
    return {
      wrong: 'a cron expression has five fields (minute, hour, day, month, weekday), or six with seconds in front, such as 0 6 * * mon-fri',
    }
  }
  if (!isTimeZone(timeZone))
    return { wrong: `there is no time zone ${JSON.stringify(timeZone.slice(0, ZONE_LENGTH_MAX))}; write it as in Europe/Berlin` }
  try {
    const cron = new Cron(text, { timezone: timeZone, mode: '5-or-6-parts' })
    return { times: { next: (after) => cron.nextRun(new Date(after))?.getTime() } }
  } catch (error) {
    return { wrong: `not a cron expression: ${reason(error)}` }
  }
}

export function isTimeZone(name: string): boolean {
  if (name.length === 0 || name.length > ZONE_LENGTH_MAX) return false
  try {
    new Intl.DateTimeFormat('en', { timeZone: name }).format(0)
    return true
  } catch {
    return false
  }
}

function reason(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/^CronPattern: /, '')
}
