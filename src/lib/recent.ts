/**
 * What was used lately, by number: the last `max` of them at least, twice as many at most. In two generations, so that forgetting is
 * dropping a whole one: a map whose oldest entry is deleted again and again grows slow.
 */
export class Recent<T> {
  readonly #max: number
  #young = new Map<number, T>()
  #old = new Map<number, T>()

  constructor(max: number) {
    this.#max = max
  }

  get(key: number): T | undefined {
    return this.#young.get(key) ?? this.#old.get(key)
  }

  set(key: number, value: T): void {
    if (this.#young.size >= this.#max && !this.#young.has(key)) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
  }

  delete(key: number): void {
    this.#young.delete(key)
    this.#old.delete(key)
  }

  clear(): void {
    this.#young = new Map()
    this.#old = new Map()
  }
}
