/** What can be chosen on the command line of the benchmarks. */
import { parseArgs } from 'node:util'

export interface BenchOptions {
  readonly only: readonly string[]
  readonly arms: readonly string[]
  readonly seconds: number
  readonly warmUpSeconds: number
  readonly rounds: number
  readonly connections: number
  readonly proxyCore: number
  readonly loadCore: number
  /** Put the tables into bench/README.md. */
  readonly write: boolean
  readonly say: (line: string) => void
}

export const USAGE = `usage: npm run bench -- [options]
  --only direct,queue       which benchmarks
  --arms nginx,haproxy,spillway
  --seconds 5               length of one run
  --warm-up 3               length of the runs that are not kept
  --rounds 5                how often every run is repeated; medians are reported
  --connections 64
  --proxy-core 0 --load-core 1
  --write                   put the tables into bench/README.md
`

function positive(name: string, text: string, least = 1): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < least) throw new Error(`--${name} takes a whole number from ${least}, not "${text}"`)
  return value
}

function among(name: string, text: string, allowed: readonly string[]): string[] {
  const values = text.split(',')
  for (const value of values) if (!allowed.includes(value)) throw new Error(`--${name} takes ${allowed.join(', ')}, not "${value}"`)
  return values
}

/** Throws with a message for the person who typed it. */
export function parseOptions(args: readonly string[]): BenchOptions {
  const text = (value: string): { type: 'string'; default: string } => ({ type: 'string', default: value })
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: text('direct,queue'),
      arms: text('nginx,haproxy,spillway'),
      seconds: text('5'),
      'warm-up': text('3'),
      rounds: text('5'),
      connections: text('64'),
      'proxy-core': text('0'),
      'load-core': text('1'),
      write: { type: 'boolean', default: false },
    },
  })
  return {
    only: among('only', values.only, ['direct', 'queue']),
    arms: among('arms', values.arms, ['nginx', 'haproxy', 'spillway']),
    seconds: positive('seconds', values.seconds),
    warmUpSeconds: positive('warm-up', values['warm-up']),
    rounds: positive('rounds', values.rounds),
    connections: positive('connections', values.connections),
    proxyCore: positive('proxy-core', values['proxy-core'], 0),
    loadCore: positive('load-core', values['load-core'], 0),
    write: values.write,
    say: (line) => void process.stderr.write(`${line}\n`),
  }
}
