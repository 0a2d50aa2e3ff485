/**
 * What was used lately: the last `max` of them at least, twice as many at most. In two generations, so that forgetting is
 * dropping a whole one: a map whose oldest entry is deleted again and again grows slow.
 */
export class Recent<T, K = number> {
  readonly #max: number
  #young = new Map<K, T>()
  #old = new Map<K, T>()

  constructor(max: number) {
    this.#max = max
  }

  get(key: K): T | undefined {
    return this.#young.get(key) ?? this.#old.get(key)
  }

  set(key: K, value: T): void {
    if (this.#young.size >= this.#max && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
  }

  delete(key: K): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }

  clear(): void {
    this.#young = new Map()
    this.#old = new Map()
  }
}
