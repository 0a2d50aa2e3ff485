/** The bus of a gateway that has no others beside it: listeners are called at once, in order of subscription. Loses nothing. */
import type { Bus, BusEvent, Unsubscribe } from '../ports/bus.ts'

export function createLocalBus(): Bus {
  const listeners = new Set<(event: BusEvent) => void>()
  return {
    publish(event: BusEvent): void {
      for (const listener of listeners) listener(event)
    },
    subscribe(listener: (event: BusEvent) => void): Unsubscribe {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
