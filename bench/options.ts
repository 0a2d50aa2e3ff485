/** What can be chosen on the command line of the benchmarks. */
import { parseArgs } from 'node:util'
import { ARM_NAMES, type ArmName } from './brokers/arms.ts'
import type { Cores } from './machine.ts'

export const BENCHES = ['direct', 'latency', 'idle', 'threads', 'queue', 'overload', 'glue', 'brokers'] as const
export type BenchName = (typeof BENCHES)[number]

export interface BenchOptions {
  readonly only: readonly BenchName[]
  readonly arms: readonly string[]
  readonly brokers: readonly ArmName[]
  readonly seconds: number
  readonly warmUpSeconds: number
  readonly rounds: number
  readonly connections: number
  readonly proxyCores: Cores
  readonly loadCores: Cores
  /** Put the tables into bench/README.md. */
  readonly write: boolean
  readonly say: (line: string) => void
}

export const USAGE = `usage: npm run bench -- [options]
  --only direct,latency,idle,threads,queue,overload,glue,brokers
                            which benchmarks
  --arms nginx,haproxy,spillway,http-proxy-3,fastify
  --brokers engine,engine-1m,rabbitmq,redis-streams,bullmq,pg-boss,spillway
  --seconds 5               length of one run
  --warm-up 3               length of the runs that are not kept
  --rounds 5                how often every run is repeated; medians are reported
  --connections 64
  --proxy-core 0 --load-core 1
                            what is measured, and what drives it; 0,1 is both
  --write                   put the tables into bench/README.md
`

function positive(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new Error(`--${name} takes a whole number from 1, not "${text}"`)
  return value
}

function among<T extends string>(name: string, text: string, allowed: readonly T[]): T[] {
  return text.split(',').map((value) => {
    const found = allowed.find((one) => one === value)
    if (found === undefined) throw new Error(`--${name} takes ${allowed.join(', ')}, not "${value}"`)
    return found
  })
}

function cores(name: string, text: string): Cores {
  if (!/^\d+(,\d+)*$/.test(text)) throw new Error(`--${name} takes the numbers of cores, such as 0 or 0,1, not "${text}"`)
  return text
}

/** Throws with a message for the person who typed it. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const text = (value: string): { type: 'string'; default: string } => ({ type: 'string', default: value })
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: text(BENCHES.join(',')),
      arms: text('nginx,haproxy,spillway,http-proxy-3,fastify'),
      seconds: text('5'),
      'warm-up': text('3'),
      rounds: text('5'),
      brokers: text(ARM_NAMES.join(',')),
      connections: text('64'),
      'proxy-core': text('0'),
      'load-core': text('1'),
      write: { type: 'boolean', default: false },
    },
  })
  return {
    only: among('only', values.only, BENCHES),
    arms: among('arms', values.arms, ['nginx', 'haproxy', 'spillway', 'http-proxy-3', 'fastify']),
    brokers: among('brokers', values.brokers, ARM_NAMES),
    seconds: positive('seconds', values.seconds),
    warmUpSeconds: positive('warm-up', values['warm-up']),
    rounds: positive('rounds', values.rounds),
    connections: positive('connections', values.connections),
    proxyCores: cores('proxy-core', values['proxy-core']),
    loadCores: cores('load-core', values['load-core']),
    write: values.write,
    say: (line) => void process.stderr.write(`${line}\n`),
  }
}
