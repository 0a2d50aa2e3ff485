/** Reads the three date formats of RFC 9110, section 5.6.7. Strict, and independent of the machine's time zone. */
import type { EpochMillis } from './units.ts'

const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec'
const IMF_FIXDATE = /^[A-Z][a-z]{2}, (?<day>\d{2}) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/
const RFC_850 = /^[A-Z][a-z]{5,8}, (?<day>\d{2})-(?<month>[A-Z][a-z]{2})-(?<year>\d{2}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/
const ASCTIME = /^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) (?<time>\d{2}:\d{2}:\d{2}) (?<year>\d{4})$/

/** `now` decides the century of the obsolete two-digit year: never more than 50 years ahead. */
export function parseHttpDate(text: string, now: EpochMillis): EpochMillis | undefined {
  const parts = (IMF_FIXDATE.exec(text) ?? RFC_850.exec(text) ?? ASCTIME.exec(text))?.groups
  if (parts === undefined) return undefined
  const month = MONTHS.indexOf(parts['month'] as string) / 3
  const [hours, minutes, seconds] = (parts['time'] as string).split(':').map(Number) as [number, number, number]
  const day = Number(parts['day'])
  if (!Number.isInteger(month) || month < 0 || day < 1 || day > 31 || hours > 23 || minutes > 59 || seconds > 60) return undefined
  return Date.UTC(fullYear(parts['year'] as string, now), month, day, hours, minutes, seconds)
}

function fullYear(written: string, now: EpochMillis): number {
  if (written.length === 4) return Number(written)
  const thisYear = new Date(now).getUTCFullYear()
  const year = thisYear - (thisYear % 100) + Number(written)
  return year > thisYear + 50 ? year - 100 : year
}
