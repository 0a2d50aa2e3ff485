/** A store with something between its callers and it. Methods that nobody here knows pass through like all others. */
import type { JobStore } from '../../src/ports/job-store.ts'

export type StoreMethod = keyof JobStore
export type Around = (
  method: StoreMethod,
  args: readonly unknown[],
  next: (args: readonly unknown[]) => Promise<unknown>,
) => Promise<unknown>

export function intercept(store: JobStore, around: Around): JobStore {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name)
      if (typeof value !== 'function') return value
      const next = (args: readonly unknown[]): Promise<unknown> => Promise.resolve(Reflect.apply(value, target, args))
      return (...args: unknown[]) => around(name as StoreMethod, args, next)
    },
  })
}
