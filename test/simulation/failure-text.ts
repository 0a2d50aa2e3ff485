/** A broken promise as people read it: which one, what led to it, and how to see it again. */
import type { SimulationResult } from './simulate.ts'

const LINES = 60

export function failureText({ seed, violations, history }: SimulationResult): string {
  const broken = violations.map(({ name, detail, atMs }) => `  ${name}: ${detail} (at ${atMs.toFixed(3)} ms)`)
  return [
    `seed ${seed} breaks`,
    ...broken,
    'what led to it:',
    ...history.before(LINES),
    `see all of it: npm run -s sim -- --seeds 1 --from ${seed}`,
  ].join('\n')
}
