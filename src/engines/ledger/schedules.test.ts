import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryTables } from '../memory/memory-tables.ts'
import type { PackedSchedule } from './calls.ts'
import { SCHEDULE_NOTE, Schedules } from './schedules.ts'

const LIMITS = { schedules: 50, scheduleBytes: 1 << 20 }
const NOW = Date.UTC(2030, 0, 1)

function schedule(name: string, more: Partial<PackedSchedule> = {}): PackedSchedule {
  const request = { head: Buffer.from('["POST","/",[]]'), body: Buffer.from([0, 255]) }
  const job = { queue: 'q', route: 'r', method: 'POST', priority: 4, attempts: 1, keepMs: 1, keepDeadMs: 1, sendOnce: false, request }
  return { name, when: { everyMs: 1000, startAt: NOW }, missed: 'skip', job, paused: true, ...more }
}

test('as many schedules as may be, and not one more; one that is known is replaced all the same', () => {
  const schedules = new Schedules(new MemoryTables(), LIMITS)
  for (let n = 0; n < LIMITS.schedules; n++) assert.equal(schedules.put(schedule(`s${n}`), NOW), undefined)
  assert.match(schedules.put(schedule('one more'), NOW) ?? '', /as many as there may be/)
  assert.equal(schedules.put(schedule('s0', { missed: 'all' }), NOW), undefined)
  schedules.drop('s1')
  assert.equal(schedules.put(schedule('one more'), NOW), undefined)
})

test('definitions may have so many bytes together, and not one more; a shorter one in place of another makes room', () => {
  const one = (name: string, missed: 'skip' | 'all'): PackedSchedule => schedule(name, { missed })
  const tables = new MemoryTables()
  new Schedules(tables, LIMITS).put(one('a', 'skip'), NOW)
  const bytes = tables.notes(SCHEDULE_NOTE)[0]?.text.length ?? 0
  const put = (scheduleBytes: number, ...names: readonly string[]): readonly (string | undefined)[] => {
    const schedules = new Schedules(new MemoryTables(), { ...LIMITS, scheduleBytes })
    return names.map((name) => schedules.put(one(name, 'skip'), NOW))
  }
  assert.deepEqual(put(2 * bytes, 'a', 'b'), [undefined, undefined])
  assert.match(put(2 * bytes - 1, 'a', 'b')[1] ?? '', /more than \d+ bytes \(limits\.scheduleBytes\)/)
  assert.deepEqual(put(bytes, 'a', 'a'), [undefined, undefined])
})

test('what is read back from the notes is what was put there', () => {
  const tables = new MemoryTables()
  const schedules = new Schedules(tables, LIMITS)
  schedules.put(schedule('a', { paused: false }), NOW)
  schedules.put(schedule('b', { when: { cron: '0 6 * * *', timeZone: 'Europe/Berlin' }, definition: 'as it was written' }), NOW)
  const made: unknown[] = []
  const make = (job: PackedSchedule['job']): { id: string } => {
    made.push(job)
    return { id: `job ${made.length}` }
  }
  assert.equal(schedules.run(NOW, make), 1000)
  const again = new Schedules(tables, LIMITS)
  assert.deepEqual(again.list(), schedules.list())
  assert.equal(again.run(NOW + 1000, make), 1000)
  assert.deepEqual(made, [schedule('a').job, schedule('a').job])
  assert.equal(again.list()[0]?.lastJob, 'job 2')
})
