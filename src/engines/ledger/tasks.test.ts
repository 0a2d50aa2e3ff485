import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { JobRecord } from '../../core/jobs/record.ts'
import type { NewTask } from '../../ports/job-store.ts'
import { MemoryTables } from '../memory/memory-tables.ts'
import { Tasks } from './tasks.ts'

const TASKS_MAX = 100
const TASK: NewTask = { kind: 'cancel', filter: { queue: 'q' } }

test('as many tasks as there may be are begun, one more is not, until one of them is over', () => {
  const tasks = new Tasks(new MemoryTables(), TASKS_MAX)
  for (let n = 1; n <= TASKS_MAX; n++) assert.equal(tasks.begin(TASK, 0, 0), n)
  assert.match(String(tasks.begin(TASK, 0, 0)), /100 tasks are under way, as many as there may be/)
  assert.equal(tasks.stop(7, 0), true)
  assert.equal(tasks.begin(TASK, 0, 0), TASKS_MAX + 1)
})

test('tasks take turns: however many there are, a run looks at so many jobs and no more', () => {
  const tables = new MemoryTables()
  for (let seq = 1; seq <= 3000; seq++) tables.insertRecord({ seq, queue: 'q' } as JobRecord)
  const tasks = new Tasks(tables, TASKS_MAX)
  for (let n = 0; n < 10; n++) tasks.begin(TASK, 0, 3000)
  const done = new Map<number, number>()
  const run = (): number => {
    let count = 0
    const moment = { now: 0, monotonic: 0 }
    const again = tasks.run(moment, ({ id }) => {
      done.set(id, (done.get(id) ?? 0) + 1)
      count += 1
      return 'done'
    })
    assert.ok(again === 0 || tasks.list().every(({ endedAt }) => endedAt !== undefined))
    return count
  }
  assert.deepEqual([run(), run()], [400, 400])
  assert.deepEqual([...done.keys()], [1, 2, 3, 4])
  for (let n = 2; n < 5; n++) run()
  assert.deepEqual(
    [...done.values()],
    Array.from({ length: 10 }, () => 200),
  )
  while (run() > 0);
  assert.deepEqual(
    [...done.values()],
    Array.from({ length: 10 }, () => 3000),
  )
})

test('a task whose rate has nothing to spare costs no turn of another', () => {
  const tables = new MemoryTables()
  for (let seq = 1; seq <= 1000; seq++) tables.insertRecord({ seq, queue: 'q' } as JobRecord)
  const tasks = new Tasks(tables, TASKS_MAX)
  for (let n = 0; n < 3; n++) tasks.begin({ ...TASK, perSecond: 1 }, 0, 1000)
  const fast = tasks.begin(TASK, 0, 1000)
  const run = (monotonic: number): number[] => {
    const ids: number[] = []
    tasks.run({ now: 0, monotonic }, ({ id }) => {
      ids.push(id)
      return 'done'
    })
    return [...new Set(ids)]
  }
  assert.deepEqual([run(0), run(0), run(0)], [[1, 2], [3, fast], [fast]])
  assert.deepEqual(run(1000), [1, 2])
})
