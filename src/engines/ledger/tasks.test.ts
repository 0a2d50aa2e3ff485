import assert from 'node:assert/strict'
import { test } from 'node:test'
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
