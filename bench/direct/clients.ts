/** The process with the clients: one order at a time, one report for each. */
import path from 'node:path'
import process from 'node:process'
import { type Started, startPinned } from '../machine.ts'
import type { BenchOptions } from '../options.ts'
import type { Order, Paced, Report } from './clients-main.ts'

export class Clients {
  readonly #started: Started

  constructor({ loadCores }: Pick<BenchOptions, 'loadCores'>) {
    this.#started = startPinned(loadCores, process.execPath, [path.join(import.meta.dirname, 'clients-main.ts')], { channel: true })
  }

  async pace(order: Omit<Extract<Order, { kind: 'pace' }>, 'kind'>): Promise<Paced> {
    const report = await this.#ask({ kind: 'pace', ...order })
    if ('paced' in report) return report.paced
    throw new Error(`the clients said ${JSON.stringify(report)}`)
  }

  /** How many are open, each served once. */
  hold(url: string, connections: number): Promise<number> {
    return this.#count({ kind: 'hold', url, connections })
  }

  /** How many were still open. */
  letGo(): Promise<number> {
    return this.#count({ kind: 'letGo' })
  }

  stop(): Promise<void> {
    return this.#started.stop()
  }

  async #count(order: Order): Promise<number> {
    const report = await this.#ask(order)
    if ('held' in report) return report.held
    throw new Error(`the clients said ${JSON.stringify(report)}`)
  }

  #ask(order: Order): Promise<Report> {
    const { process: child } = this.#started
    return new Promise((resolve, reject) => {
      const died = (): void => reject(new Error(`the clients died: ${this.#started.output()}`))
      child.once('exit', died)
      child.once('message', (report: Report) => {
        child.off('exit', died)
        resolve(report)
      })
      child.send(order)
    })
  }
}
