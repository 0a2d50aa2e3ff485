/**
 * Emptying a queue: first all that waits is cancelled, then all that ended is forgotten, each by a task of the store. What a task forgets had
 * to be over when it began, so the second begins when the first has ended; a note keeps that in mind over restarts.
 */
import type { CommandOutcome, JobStore, NewTask, QueueName } from '../ports/job-store.ts'

const NOTE = 'purge/'

export class Purges {
  readonly #store: Pick<JobStore, 'notes' | 'command' | 'tasks'>
  /** Which task of each queue cancels. */
  readonly #cancelling = new Map<QueueName, number>()
  #checking = false

  constructor(store: Pick<JobStore, 'notes' | 'command' | 'tasks'>) {
    this.#store = store
  }

  /** Those that had been begun before. */
  async restore(): Promise<void> {
    for (const { name, text } of await this.#store.notes(NOTE)) {
      const queue = name.slice(NOTE.length)
      if (text === '') await this.begin(queue)
      else this.#cancelling.set(queue, Number(text))
    }
  }

  /** The outcome tells the number of the task that cancels. */
  async begin(queue: QueueName): Promise<CommandOutcome> {
    await this.#note(queue, '')
    const outcome = await this.#task({ kind: 'cancel', filter: { queue } })
    if (outcome.kind !== 'done' || outcome.task === undefined) {
      await this.#note(queue)
      return outcome
    }
    await this.#note(queue, String(outcome.task))
    this.#cancelling.set(queue, outcome.task)
    return outcome
  }

  /** After each tick of the store: has one of them cancelled all? True: there is more for the store to do. */
  async check(): Promise<boolean> {
    if (this.#cancelling.size === 0 || this.#checking) return false
    this.#checking = true
    let begun = false
    try {
      const tasks = await this.#store.tasks()
      for (const [queue, id] of this.#cancelling) {
        const task = tasks.find((each) => each.id === id)
        if (task !== undefined && task.endedAt === undefined) continue
        if (task?.stopped !== true) begun = (await this.#task({ kind: 'forget', filter: { queue } })).kind === 'done'
        this.#cancelling.delete(queue)
        await this.#note(queue)
      }
    } finally {
      this.#checking = false
    }
    return begun
  }

  async #task(task: NewTask): Promise<CommandOutcome> {
    return (await this.#store.command([{ kind: 'begin', task }]))[0] as CommandOutcome
  }

  async #note(queue: QueueName, text?: string): Promise<void> {
    await this.#store.command([{ kind: 'note', name: NOTE + queue, ...(text === undefined ? {} : { text }) }])
  }
}
