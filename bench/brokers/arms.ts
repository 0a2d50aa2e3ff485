/** Who takes part, in the order of their turns. The first two are measured in the client's process, without a network: they are no peers. */
import type { BrokerArm } from './broker.ts'
import { bullmq } from './bullmq.ts'
import { engine } from './engine.ts'
import { pgBoss } from './pg-boss.ts'
import { rabbitmq } from './rabbitmq.ts'
import { redisStreams } from './redis-streams.ts'
import { spillway } from './spillway.ts'

export const ENGINE_NAMES = ['engine', 'engine-1m'] as const
export const BROKER_NAMES = ['rabbitmq', 'redis-streams', 'bullmq', 'pg-boss', 'spillway'] as const
export const ARM_NAMES = [...ENGINE_NAMES, ...BROKER_NAMES] as const
export type ArmName = (typeof ARM_NAMES)[number]

export const ARMS: Readonly<Record<ArmName, BrokerArm>> = {
  engine: engine(0),
  'engine-1m': engine(1_000_000),
  rabbitmq,
  'redis-streams': redisStreams,
  bullmq,
  'pg-boss': pgBoss,
  spillway,
}

export function isEngine(name: ArmName): boolean {
  return (ENGINE_NAMES as readonly string[]).includes(name)
}

/** `redis 7.0.15`, … of those that are there; one that several arms share once. */
export function brokerVersions(names: readonly ArmName[]): string[] {
  const versions = names.flatMap((name) => ARMS[name].version() ?? [])
  return [...new Set(versions)]
}
