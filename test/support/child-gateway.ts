/** The gateway as users run it: a process of its own with a configuration file, told apart by what it prints. */
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ConfigFile } from '../../src/config/schema.ts'
import { type Child, startChild } from './children.ts'
import { until } from './until.ts'
import { WORKERS } from './workers.ts'

const MAIN = join(import.meta.dirname, '..', '..', 'src', 'main.ts')

/** A line of the gateway's output: an event, or, where the access log is on, a call or an attempt. `at` is its own wall clock. */
export interface LoggedLine {
  readonly type: string
  readonly at: number
  readonly [field: string]: unknown
}

export interface ChildGateway extends Child {
  readonly url: string
  readonly adminUrl: string
  readonly lines: readonly LoggedLine[]
  /** False until it has said that it listens. */
  readonly started: boolean
  of(type: string): readonly LoggedLine[]
}

export interface GatewayLife {
  /** Where the configuration is written and the store lies. */
  readonly folder: string
  /** Host in the URLs that it gives to servers and clients, so that the lives of a gateway can be told apart. */
  readonly name?: string
  /** The configuration, where it is written already. */
  readonly file?: string
  /** Put before the command: a tracer. */
  readonly wrap?: readonly string[]
}

/** In one step, so that a gateway that reads it again never finds half of it. */
export function writeConfig(config: ConfigFile, { folder, name }: GatewayLife): string {
  const file = join(folder, 'spillway.yaml')
  const own = { listeners: ['127.0.0.1:0'], admin: { address: '127.0.0.1:0' }, store: { path: './data' }, ...WORKERS }
  const jobs = name === undefined ? {} : { jobs: { publicUrl: `http://${name}` } }
  // JSON is YAML.
  writeFileSync(`${file}.new`, JSON.stringify({ ...own, ...jobs, ...config, log: { format: 'json', ...config.log } }))
  renameSync(`${file}.new`, file)
  return file
}

/** Does not wait for it to listen. */
export function spawnGateway(config: ConfigFile, life: GatewayLife): ChildGateway {
  const file = life.file ?? writeConfig(config, life)
  const lines: LoggedLine[] = []
  let started: LoggedLine | undefined
  const child = startChild([...(life.wrap ?? []), process.execPath, MAIN, 'run', file], (line) => {
    const logged = readLine(line)
    if (logged === undefined) return
    lines.push(logged)
    if (logged.type === 'started') started = logged
  })
  const address = (pick: (line: LoggedLine) => unknown): string => {
    if (started === undefined) throw new Error('the gateway does not listen yet')
    return `http://${String(pick(started))}`
  }
  return {
    ...child,
    get output() {
      return child.output
    },
    get errors() {
      return child.errors
    },
    get url() {
      return address((line) => (line['listeners'] as readonly string[])[0])
    },
    get adminUrl() {
      return address((line) => line['admin'])
    },
    get started() {
      return started !== undefined
    },
    lines,
    of: (type) => lines.filter((line) => line.type === type),
  }
}

/** Of lines for people only the first is understood: where it listens. */
function readLine(line: string): LoggedLine | undefined {
  if (line.startsWith('{')) {
    const read = JSON.parse(line) as LoggedLine & { readonly time: string }
    return { ...read, at: Date.parse(read.time) }
  }
  const [, listener, admin] = /listening on ([^ ,;]+).*; admin ([^ ;]+)/.exec(line) ?? []
  return listener === undefined ? undefined : { type: 'started', at: Date.now(), listeners: [listener], admin }
}

export async function startGateway(config: ConfigFile, life: GatewayLife): Promise<ChildGateway> {
  const gateway = spawnGateway(config, life)
  let ended = false
  void gateway.exited.then(() => (ended = true))
  await until('the gateway listens', () => {
    if (ended) throw new Error(`the gateway ended: ${gateway.output}`)
    return gateway.started
  })
  return gateway
}
