/**
 * The process that takes over from one that runs (`Upgrade`, the other side): it was started with the sockets of that one, says when its
 * configuration has been read and is right, waits until the store is free, and says when it serves.
 */
import type { BoundSocket } from './sockets.ts'

/** In its environment: the sockets, as JSON. */
export const SUCCESSOR_VARIABLE = 'SPILLWAY_TAKES_OVER'

/** From the successor: its configuration is right; it serves. To it: the store is free. */
export type UpgradeMessage = 'prepared' | 'serving' | 'go'

export interface Successor {
  readonly sockets: readonly BoundSocket[]
  /** Resolves when the store is free. False: the other one has ended before, and nothing was handed over. */
  prepared(): Promise<boolean>
  /** From here on it is a gateway like any other. */
  serving(): void
}

/** Undefined: this process was started by somebody. */
export function successorIn(environment: NodeJS.ProcessEnv): Successor | undefined {
  const text = environment[SUCCESSOR_VARIABLE]
  if (text === undefined || !process.connected) return undefined
  // Its own successor is told anew.
  delete environment[SUCCESSOR_VARIABLE]
  return {
    sockets: JSON.parse(text) as readonly BoundSocket[],
    prepared: () =>
      new Promise((resolve) => {
        process.once('disconnect', () => resolve(false))
        process.on('message', (message) => message === 'go' && resolve(true))
        tell('prepared')
      }),
    serving() {
      process.removeAllListeners('message')
      process.removeAllListeners('disconnect')
      tell('serving', () => process.disconnect())
    },
  }
}

function tell(message: UpgradeMessage, done: () => void = () => undefined): void {
  process.send?.(message, () => done())
}
