/** What every thread that serves clients has, made from the configuration in one way: the chief's and the workers' alike. */
import type { Config } from '../config/config.ts'
import type { GuardRules } from '../core/admission/guard.ts'
import type { BufferBudget } from '../net/buffer-budget.ts'
import type { Listener, ListenerOptions } from '../net/listener.ts'
import type { ReadBuffers } from '../net/read-buffers.ts'
import type { Sweeper } from '../net/sweeper.ts'
import type { Clock } from '../ports/clock.ts'
import type { Network } from '../ports/network.ts'
import type { Telemetry } from '../telemetry/telemetry.ts'
import { Upstream } from '../upstream/upstream.ts'
import { Guard } from './guard.ts'
import { descriptorShare, memoryShare } from './guard-signals.ts'

export interface UpstreamPorts {
  readonly clock: Clock
  readonly network: Network
  readonly sweeper: Sweeper
  readonly buffers: ReadBuffers
}

export function createUpstream({ limits, timeouts }: Config, ports: UpstreamPorts, budget: BufferBudget): Upstream {
  const { connectMs, firstByteMs, stallMs, upstreamIdleMs: idleMs } = timeouts
  const heads = { headBytesMax: limits.head, headersMax: limits.headers }
  return new Upstream({ ...ports, ...heads, copyBytesMax: limits.spillCopy, timeouts: { connectMs, firstByteMs, stallMs, idleMs } }, budget)
}

export interface GuardPorts {
  readonly clock: Clock
  readonly telemetry: Telemetry
}

/** Lets connections of these in slowly, where there is too much to do. */
export function createGuard(rules: GuardRules, ports: GuardPorts, listeners: readonly Listener[]): Guard {
  return new Guard({
    ...{ ...ports, rules, memory: memoryShare, sockets: descriptorShare },
    onLevel: (level) => {
      for (const listener of listeners) listener.letInSlowly(level !== 'calm')
    },
    onTick: (count) => {
      for (const listener of listeners) listener.letSomeIn(count)
    },
  })
}

/** How clients are spoken to. */
export function wireOf({
  name,
  limits,
  timeouts,
  trustedPeers,
}: Config): Pick<ListenerOptions, 'name' | 'limits' | 'timeouts' | 'trustedPeers'> {
  const { headMs, bodyMs, idleMs, stallMs } = timeouts
  return {
    ...{ name, trustedPeers },
    limits: { headBytesMax: limits.head, headersMax: limits.headers, targetBytesMax: limits.target },
    timeouts: { headMs, bodyMs, idleMs, stallMs },
  }
}
