/**
 * Numbers in ascending order, each once, eight bytes each. Made for numbers that come almost in order and go from the front: adding behind the last
 * one and taking the first cost next to nothing, however many there are; anywhere else it is a search and a move of what lies behind.
 */

/** So many places may be free at the front before the rest moves up, and no more than are taken. */
const FREE_MAX = 1024

export class Ascending {
  #items: number[]
  #start = 0

  constructor(first: number) {
    this.#items = [first]
  }

  /** Undefined: there is none. */
  get first(): number | undefined {
    return this.#items[this.#start]
  }

  add(value: number): void {
    const items = this.#items
    if (items.length === this.#start || value > (items.at(-1) as number)) items.push(value)
    else items.splice(this.#placeOf(value), 0, value)
  }

  /** False: it was not there. */
  delete(value: number): boolean {
    const place = this.#placeOf(value)
    if (this.#items[place] !== value) return false
    if (place === this.#start) this.#dropFirst()
    else this.#items.splice(place, 1)
    return true
  }

  /** The first that is not below it. Undefined: there is none. */
  firstFrom(value: number): number | undefined {
    const last = this.#items.at(-1)
    return last === undefined || last < value ? undefined : this.#items[this.#placeOf(value)]
  }

  #dropFirst(): void {
    this.#start += 1
    const left = this.#items.length - this.#start
    if (left > 0 && (this.#start < FREE_MAX || this.#start < left)) return
    this.#items = left === 0 ? [] : this.#items.slice(this.#start)
    this.#start = 0
  }

  /** Where it stands, or would. */
  #placeOf(value: number): number {
    let low = this.#start
    let high = this.#items.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#items[middle] as number) < value) low = middle + 1
      else high = middle
    }
    return low
  }
}
