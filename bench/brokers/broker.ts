/**
 * What every broker in the comparison has to do, in the same words for all: a process to start, and a client that publishes, consumes and counts.
 * Jobs are numbers here; each arm puts them into bodies of 1 KiB (`job-body.ts`) in the form that suits its broker best.
 */
import { existsSync } from 'node:fs'
import type { Cores, Started } from '../machine.ts'

export interface RunningBroker {
  readonly started: Started
  /** What a client needs to know to connect. */
  readonly address: string
  stop(): Promise<void>
}

export interface ConsumerEvents {
  /** A server or consumer has them now and begins: the end of "submit to start". */
  started(jobs: readonly number[]): void
  /** So many are acknowledged, as durably as the broker can say. */
  settled(count: number): void
  failed(error: Error): void
}

export interface Consumer {
  /** Takes no more jobs; resolves when what was taken is settled. */
  stop(): Promise<void>
}

export interface BrokerClient {
  /** How many jobs are published together. */
  readonly batch: number
  /** Resolves when all of them are accepted as durably as the broker promises. */
  publish(jobs: readonly number[]): Promise<void>
  consume(events: ConsumerEvents): Promise<Consumer>
  /** Jobs that the broker still holds: waiting, and handed out but not settled. */
  depth(): Promise<number>
  /** Empties the queue by the shortest way. Absent: it has to be worked off. */
  purge?(): Promise<void>
  close(): Promise<void>
}

export interface BrokerArm {
  /** The client library that it uses, of `bench/package.json`. */
  readonly clientPackage?: string
  /** Why it cannot run here: a word for the person who reads the output. */
  missing(): string | undefined
  /**
   * Its own process, data and port; nothing of an installed service is touched. `nodeArgs` go before the script of one that runs on Node.
   * Absent: it lives in the client's process, in the folder.
   */
  start?(cores: Cores, folder: string, nodeArgs: readonly string[]): Promise<RunningBroker>
  /** Called in the client's process, once for each measurement. `address` is what `start` said, else a folder. */
  connect(address: string): Promise<BrokerClient>
  /** Program and version; our own are told by the commit. */
  version(): string | undefined
  /** Jobs that wait when a measurement begins. */
  readonly waiting?: number
}

/** First of the files that exists. */
export function firstFile(...files: readonly (string | undefined)[]): string | undefined {
  return files.find((file) => file !== undefined && existsSync(file))
}

/** Imports a client library of `bench/package.json`. The repository itself does not depend on it: its types are what the arm says it uses. */
export async function importClient<T>(name: string): Promise<T> {
  return (await import(name)) as T
}
