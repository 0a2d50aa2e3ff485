import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import process from 'node:process'
import { test } from 'node:test'
import { isAlive } from './process-alive.ts'

test('a process is alive until it has ended', async (t) => {
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'ignore'] })
  t.after(() => child.kill('SIGKILL'))
  await once(child, 'spawn')
  const pid = child.pid as number
  assert.equal(isAlive(pid), true)
  child.stdin.end()
  await once(child, 'exit')
  assert.equal(isAlive(pid), false)
})

test('one of another user is alive, though it may not be asked', () => assert.equal(isAlive(1), true))
