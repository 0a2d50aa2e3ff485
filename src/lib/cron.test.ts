import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CronReading, isTimeZone, readCron } from './cron.ts'

function due(expression: string, timeZone: string, after: string, count: number): string[] {
  const read = readCron(expression, timeZone)
  if ('wrong' in read) throw new Error(read.wrong)
  const found: string[] = []
  let at: number | undefined = Date.parse(after)
  while (found.length < count) {
    at = read.times.next(at)
    if (at === undefined) break
    found.push(new Date(at).toISOString().slice(0, 16))
  }
  return found
}

function wrong(read: CronReading): string {
  return 'wrong' in read ? read.wrong : ''
}

test('a due time is after the moment that is asked about, never at it', () => {
  assert.deepEqual(due('0 0 * * *', 'UTC', '2026-05-01T00:00:00.000Z', 1), ['2026-05-02T00:00'])
  assert.deepEqual(due('0 0 * * *', 'UTC', '2026-04-30T23:59:59.999Z', 1), ['2026-05-01T00:00'])
  assert.deepEqual(due('0 0 * * *', 'UTC', '2026-05-01T00:00:00.001Z', 1), ['2026-05-02T00:00'])
})

test('times are those of the time zone', () => {
  assert.deepEqual(due('0 6 * * mon-fri', 'Europe/Berlin', '2026-07-03T05:00:00Z', 2), ['2026-07-06T04:00', '2026-07-07T04:00'])
  assert.deepEqual(due('0 6 * * mon-fri', 'America/New_York', '2026-07-03T05:00:00Z', 1), ['2026-07-03T10:00'])
})

test('a time of day that the change to summer time leaves out is due right after the gap', () => {
  assert.deepEqual(due('30 2 * * *', 'Europe/Berlin', '2026-03-28T12:00:00Z', 2), ['2026-03-29T01:00', '2026-03-30T00:30'])
})

test('a time of day that the end of summer time brings twice is due once', () => {
  assert.deepEqual(due('30 2 * * *', 'Europe/Berlin', '2026-10-24T12:00:00Z', 2), ['2026-10-25T00:30', '2026-10-26T01:30'])
  // Asked between the two.
  assert.deepEqual(due('30 2 * * *', 'Europe/Berlin', '2026-10-25T00:45:00Z', 1), ['2026-10-26T01:30'])
})

test('what is due every half hour is due every half hour, whatever the clocks on the wall do', () => {
  const spring = ['2026-03-29T00:30', '2026-03-29T01:00', '2026-03-29T01:30']
  assert.deepEqual(due('*/30 * * * *', 'Europe/Berlin', '2026-03-29T00:00:00Z', 3), spring)
  const autumn = ['2026-10-25T00:30', '2026-10-25T01:00', '2026-10-25T01:30', '2026-10-25T02:00']
  assert.deepEqual(due('*/30 * * * *', 'Europe/Berlin', '2026-10-25T00:00:00Z', 4), autumn)
})

test('midnight that does not exist, where clocks go forward at midnight, is due at one', () => {
  assert.deepEqual(due('0 0 * * *', 'America/Santiago', '2026-09-05T12:00:00Z', 2), ['2026-09-06T04:00', '2026-09-07T03:00'])
})

test('seconds, last days, nth weekdays, leap days and names are understood', () => {
  const read = readCron('*/20 * * * * *', 'UTC')
  assert.ok('times' in read)
  assert.equal(read.times.next(Date.parse('2026-05-01T00:00:01Z')), Date.parse('2026-05-01T00:00:20Z'))
  assert.deepEqual(due('0 0 L * *', 'UTC', '2026-02-01T00:00:00Z', 2), ['2026-02-28T00:00', '2026-03-31T00:00'])
  assert.deepEqual(due('0 0 * * 5#3', 'UTC', '2026-10-25T00:00:00Z', 1), ['2026-11-20T00:00'])
  assert.deepEqual(due('0 0 29 feb *', 'UTC', '2026-01-01T00:00:00Z', 2), ['2028-02-29T00:00', '2032-02-29T00:00'])
  assert.deepEqual(due('@monthly', 'UTC', '2026-01-01T00:00:00Z', 1), ['2026-02-01T00:00'])
})

test('a day that never comes is never due', () => {
  assert.deepEqual(due('0 0 30 2 *', 'UTC', '2026-01-01T00:00:00Z', 1), [])
})

test('what is no cron expression is refused with a reason', () => {
  const fields = /five fields/
  for (const text of ['', '* * * *', '* * * * * * *', '? * * * *', '2030-01-01T00:00:00', '@reboot', 'x'.repeat(128), '0 6 * * mon;'])
    assert.match(wrong(readCron(text, 'UTC')), fields, text)
  assert.match(wrong(readCron('61 * * * *', 'UTC')), /not a cron expression: Invalid value for minute: 61/)
  assert.match(wrong(readCron('5/5 * * * *', 'UTC')), /not a cron expression/)
  assert.match(wrong(readCron('*/0 * * * *', 'UTC')), /not a cron expression/)
})

test('an expression has at most 128 characters', () => {
  const longest = `${'0,'.repeat(59)}01 * * * *`
  assert.equal(longest.length, 128)
  assert.equal(wrong(readCron(longest, 'UTC')), '')
  assert.match(wrong(readCron(`${'0,'.repeat(59)}010 * * * *`, 'UTC')), /at most 128/)
})

test('time zones are those of the IANA list', () => {
  assert.ok(isTimeZone('Europe/Berlin'))
  assert.ok(isTimeZone('UTC'))
  assert.ok(!isTimeZone('Mars/Olympus'))
  assert.ok(!isTimeZone(''))
  assert.match(wrong(readCron('0 6 * * *', 'Mars/Olympus')), /there is no time zone "Mars\/Olympus"/)
})
