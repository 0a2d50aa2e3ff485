/** Whether a process is there. One that belongs to somebody else is, too: to be refused is an answer. */
import process from 'node:process'

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
