/**
 * Who waits for a slot, whose turn it is, and who has waited long enough. The more urgent goes first (priority 9 before 0), but of eight turns
 * one goes to those below, in turns, so that nobody starves. Within a priority: first come first served, as long as the line is emptied again
 * and again. In a line that stands the newest goes first, and old ones are let go early: their clients are about to give up, and serving them
 * would make everybody late. Requests of one key keep their order whatever the line does.
 *
 * A line stands when its oldest waiter was older than `target` at every turn for an `interval` (Nichols and Jacobson, "Controlling Queue
 * Delay", 2012), and it is no longer than a handful: those cost nobody much, and are what keeps slow servers busy in a lull. Newest first and
 * the short limit: Facebook's "Fail at Scale", 2015; there the limit is the target, here twice that, so that the oldest one still shows it.
 */
import type { Millis, MonotonicMillis } from '../../lib/units.ts'

/** So few may wait for as long as they like, and make no line that stands. */
export const HANDFUL = 16
/** Of a direct request of which nothing is said. */
export const PRIORITY_DEFAULT = 5
/** While others wait below, they get every so many-th turn. */
export const TURN_OF_LOWER = 8
/** So many times the target, in a line that stands. */
const OLD_TARGETS = 2

export interface AdaptiveRules {
  readonly targetMs: Millis
  readonly intervalMs: Millis
}

export interface Waiting<T> {
  readonly value: T
  readonly priority: number
  /** Others of the same must not pass it, nor it them. */
  readonly key: string | undefined
}

export interface Place<T> extends Waiting<T> {
  readonly since: MonotonicMillis
}

interface Node<T> extends Place<T> {
  before: Node<T> | undefined
  after: Node<T> | undefined
  /** Of the same key. */
  keyBefore: Node<T> | undefined
  keyAfter: Node<T> | undefined
  waits: boolean
}

type CanUse<T> = (value: T) => boolean

export class WaitList<T> {
  /** Absent: first come first served, always. */
  #rules: AdaptiveRules | undefined
  readonly #ranks: (Rank<T> | undefined)[] = []
  /** One bit for each priority of which somebody waits. */
  #ranksUsed = 0
  /** The last one of each key. */
  readonly #lastOfKey = new Map<string, Node<T>>()
  #size = 0
  /** Since when every turn has found the oldest too old. */
  #lateSince: MonotonicMillis | undefined
  #stands = false
  /** Turns in a row for which somebody below had to wait. */
  #turnsAbove = 0
  #lowerTurn = 0

  constructor(rules?: AdaptiveRules) {
    this.#rules = rules
  }

  /** Other rules hold from now on: what was seen by those of before says nothing. */
  goBy(rules: AdaptiveRules | undefined): void {
    this.#rules = rules
    this.#standsNoMore()
  }

  get size(): number {
    return this.#size
  }

  /** As the last turn has shown it: where no slot becomes free nothing is known. */
  get stands(): boolean {
    return this.#stands
  }

  add({ value, priority, key }: Waiting<T>, now: MonotonicMillis): Place<T> {
    const links = { before: undefined, after: undefined, keyBefore: undefined, keyAfter: undefined }
    const node: Node<T> = { value, priority, key, since: now, ...links, waits: true }
    if (key !== undefined) this.#enterKey(node, key)
    this.#ranks[priority] ??= new Rank()
    this.#rankOf(node).push(node)
    this.#ranksUsed |= 1 << priority
    this.#size++
    return node
  }

  /** Nothing happens when it has left already. */
  remove(place: Place<T>): void {
    const node = place as Node<T>
    if (!node.waits) return
    node.waits = false
    if (node.key !== undefined) this.#leaveKey(node, node.key)
    const rank = this.#rankOf(node)
    rank.remove(node)
    if (rank.isEmpty) this.#ranksUsed &= ~(1 << node.priority)
    this.#size--
    if (this.#size === 0) this.#standsNoMore()
  }

  /** Takes out whose turn it is, of those that can make use of it. */
  take(now: MonotonicMillis, canUse: CanUse<T>): T | undefined {
    this.#look(now)
    const node = this.#shared(canUse) ?? this.#highest(canUse)
    if (node === undefined) return undefined
    this.remove(node)
    return node.value
  }

  /** Who leaves a full line for somebody of this priority: the one that would be served last. Undefined: nobody. */
  lastBelow(priority: number): Place<T> | undefined {
    if (this.#size === 0) return undefined
    const lowest = 31 - Math.clz32(this.#ranksUsed & -this.#ranksUsed)
    // Among equals the oldest has to go only where it would get nothing any more.
    if (lowest > priority || (lowest === priority && !this.#stands)) return undefined
    return (this.#ranks[lowest] as Rank<T>).last(this.#stands)
  }

  /** Has it waited for as long as makes sense now? For whoever goes through the list, oldest first. */
  isOld({ since }: Place<T>, now: MonotonicMillis): boolean {
    return this.#stands && this.#rules !== undefined && this.#size > HANDFUL && now - since >= OLD_TARGETS * this.#rules.targetMs
  }

  /** Lowest priority first; of one priority oldest first, those with a key last. Whoever is removed on the way is no longer met. */
  *[Symbol.iterator](): Generator<Place<T>> {
    for (const rank of this.#ranks) if (rank !== undefined) yield* rank.all()
  }

  // --- whose turn it is

  /** The turn of those below the highest, one priority after the other. */
  #shared(canUse: CanUse<T>): Node<T> | undefined {
    if (this.#turnsAbove < TURN_OF_LOWER - 1) return undefined
    const top = highestOf(this.#ranksUsed)
    const below = this.#ranksUsed & ~(1 << top)
    const next = below & ((1 << this.#lowerTurn) - 1)
    const turn = highestOf(next === 0 ? below : next)
    if (turn < 0) return undefined
    this.#lowerTurn = turn
    const node = this.#ranks[turn]?.find(this.#stands, canUse)
    if (node !== undefined) this.#turnsAbove = 0
    return node
  }

  #highest(canUse: CanUse<T>): Node<T> | undefined {
    for (let left = this.#ranksUsed; left !== 0; ) {
      const priority = highestOf(left)
      left &= ~(1 << priority)
      const node = (this.#ranks[priority] as Rank<T>).find(this.#stands, canUse)
      if (node === undefined) continue
      this.#turnsAbove = left === 0 ? 0 : this.#turnsAbove + 1
      return node
    }
    return undefined
  }

  #look(now: MonotonicMillis): void {
    if (this.#rules === undefined) return
    const isLate = this.#size > HANDFUL && now - this.#oldest(now) >= this.#rules.targetMs
    if (!isLate) return this.#standsNoMore()
    this.#lateSince ??= now
    this.#stands = now - this.#lateSince >= this.#rules.intervalMs
  }

  #standsNoMore(): void {
    this.#lateSince = undefined
    this.#stands = false
  }

  #oldest(now: MonotonicMillis): MonotonicMillis {
    let oldest = now
    for (let left = this.#ranksUsed; left !== 0; ) {
      const priority = highestOf(left)
      left &= ~(1 << priority)
      oldest = Math.min(oldest, (this.#ranks[priority] as Rank<T>).oldest)
    }
    return oldest
  }

  #rankOf({ priority }: Node<T>): Rank<T> {
    return this.#ranks[priority] as Rank<T>
  }

  // --- keys

  #enterKey(node: Node<T>, key: string): void {
    const last = this.#lastOfKey.get(key)
    if (last !== undefined) last.keyAfter = node
    node.keyBefore = last
    this.#lastOfKey.set(key, node)
  }

  #leaveKey(node: Node<T>, key: string): void {
    if (node.keyBefore !== undefined) node.keyBefore.keyAfter = node.keyAfter
    if (node.keyAfter !== undefined) node.keyAfter.keyBefore = node.keyBefore
    else if (node.keyBefore !== undefined) this.#lastOfKey.set(key, node.keyBefore)
    else this.#lastOfKey.delete(key)
  }
}

/** -1: none. */
function highestOf(bits: number): number {
  return 31 - Math.clz32(bits)
}

/** Those of one priority: with a key, and without. They take turns. */
class Rank<T> {
  readonly #free = new Chain<T>()
  readonly #keyed = new Chain<T>()
  #keyedNext = true

  get isEmpty(): boolean {
    return this.#free.first === undefined && this.#keyed.first === undefined
  }

  get oldest(): MonotonicMillis {
    return Math.min(this.#free.first?.since ?? Number.POSITIVE_INFINITY, this.#keyed.first?.since ?? Number.POSITIVE_INFINITY)
  }

  push(node: Node<T>): void {
    this.#chainOf(node).push(node)
  }

  remove(node: Node<T>): void {
    this.#chainOf(node).remove(node)
  }

  find(newest: boolean, canUse: CanUse<T>): Node<T> | undefined {
    const keyed = (): Node<T> | undefined => this.#keyed.find((node) => node.keyBefore === undefined && canUse(node.value))
    const free = (): Node<T> | undefined => this.#free.find((node) => canUse(node.value), newest)
    const node = this.#keyedNext ? (keyed() ?? free()) : (free() ?? keyed())
    if (node !== undefined) this.#keyedNext = node.key === undefined
    return node
  }

  /** Who would be served last. */
  last(newestFirst: boolean): Node<T> | undefined {
    return (newestFirst ? this.#free.first : this.#free.last) ?? this.#keyed.last
  }

  *all(): Generator<Node<T>> {
    yield* this.#free.all()
    yield* this.#keyed.all()
  }

  #chainOf({ key }: Node<T>): Chain<T> {
    return key === undefined ? this.#free : this.#keyed
  }
}

/** Doubly linked, in order of arrival. */
class Chain<T> {
  first: Node<T> | undefined
  last: Node<T> | undefined

  push(node: Node<T>): void {
    node.before = this.last
    if (this.last === undefined) this.first = node
    else this.last.after = node
    this.last = node
  }

  /** It keeps its neighbours, so that who stands at it can walk on. */
  remove(node: Node<T>): void {
    if (node.before === undefined) this.first = node.after
    else node.before.after = node.after
    if (node.after === undefined) this.last = node.before
    else node.after.before = node.before
  }

  find(fits: (node: Node<T>) => boolean, fromLast = false): Node<T> | undefined {
    let node = fromLast ? this.last : this.first
    while (node !== undefined && !fits(node)) node = fromLast ? node.before : node.after
    return node
  }

  *all(): Generator<Node<T>> {
    for (let node = this.first; node !== undefined; node = node.after) if (node.waits) yield node
  }
}
