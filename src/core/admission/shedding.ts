/**
 * Which requests a queue that fills up still takes: those of low priority are refused first, along a cubic curve, so that a small excess costs
 * only the least urgent and nobody but them notices. The highest priority is refused only where everybody is: at the queue's own limit.
 * (The curve is that of Netflix' prioritised load shedding, 2020.)
 */

const PRIORITIES = 10

/**
 * How full the queue may be at most for a request of this priority (0..9) to be taken, as a share of its limit. `from`: where shedding begins.
 * Between there and full, priority p is let in as long as the third power of the way is at most (p + 1) / 10.
 */
export function fillMaxOf(priority: number, from: number): number {
  return from + (1 - from) * Math.cbrt((priority + 1) / PRIORITIES)
}
