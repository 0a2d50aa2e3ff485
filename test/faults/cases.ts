/**
 * Which faults of servers are tried out, and what clients may see of each. Plain data: the tests look whether it holds, and the table in
 * `docs/guarantees.md` is made from it.
 */

/** What a server does with a request that it has read. */
export type Conduct = 'well' | 'hangs' | 'slow' | 'cuts' | 'resets' | 'closes' | 'garbage'

/** What becomes of servers, by their numbers, and when: before the first request, or under load. */
export type Strike =
  | { readonly kill: readonly number[] }
  | { readonly start: readonly number[] }
  | { readonly conduct: Conduct; readonly of: readonly number[] }

/** Of 1,000 requests: `some` (seen in every run, and not all), or `a few`: those that were under way, or none. */
export type Share = 'some' | 'a few'

export const OUTCOMES = ['well', '502', '503', '504', 'cut'] as const
export type Outcome = (typeof OUTCOMES)[number]

/** What is not named is not seen; the others were answered well. */
export type Seen = Partial<Record<Exclude<Outcome, 'well'>, Share>>

export interface FaultCase {
  readonly title: string
  readonly servers: number
  /** What its configuration says besides the servers and one route: of the pool, and of the rest. */
  readonly pool?: string
  readonly config?: string
  readonly before?: Strike
  /** One after the other, spread over the requests. */
  readonly strikes: readonly Strike[]
  readonly idempotent: Seen
  readonly once: Seen
  /** What the gateway says of the server that failed, in the end. */
  readonly then: 'up' | 'down' | 'ejected'
}

export const FAULT_CASES: readonly FaultCase[] = [
  {
    title: 'one of three is killed',
    servers: 3,
    strikes: [{ kill: [0] }],
    idempotent: { cut: 'a few' },
    once: { '502': 'a few', cut: 'a few' },
    then: 'down',
  },
  {
    title: 'one of three hangs: it accepts connections and requests, and never answers',
    servers: 3,
    config: 'timeouts: { firstByte: 300ms }',
    strikes: [{ conduct: 'hangs', of: [0] }],
    idempotent: {},
    once: { '504': 'a few' },
    then: 'ejected',
  },
  {
    title: 'one of three hangs, and no timeout is retried',
    servers: 3,
    config: 'timeouts: { firstByte: 300ms }\nretry: { on: [connect-failure, reset] }',
    strikes: [{ conduct: 'hangs', of: [0] }],
    idempotent: { '504': 'a few' },
    once: { '504': 'a few' },
    then: 'ejected',
  },
  {
    title: 'one of three is slow: its answers take 200 ms instead of 3 ms',
    servers: 3,
    strikes: [{ conduct: 'slow', of: [0] }],
    idempotent: {},
    once: {},
    then: 'up',
  },
  {
    title: 'one of three breaks off in the middle of each answer',
    servers: 3,
    strikes: [{ conduct: 'cuts', of: [0] }],
    idempotent: { cut: 'a few' },
    once: { cut: 'a few' },
    then: 'ejected',
  },
  {
    title: 'one of three reads requests and resets the connection',
    servers: 3,
    strikes: [{ conduct: 'resets', of: [0] }],
    idempotent: {},
    once: { '502': 'a few' },
    then: 'ejected',
  },
  {
    title: 'one of three reads requests and closes the connection',
    servers: 3,
    strikes: [{ conduct: 'closes', of: [0] }],
    idempotent: {},
    once: { '502': 'a few' },
    then: 'ejected',
  },
  {
    title: 'one of three answers garbage',
    servers: 3,
    strikes: [{ conduct: 'garbage', of: [0] }],
    idempotent: {},
    once: { '502': 'a few' },
    then: 'ejected',
  },
  {
    title: 'one of three flaps: killed, back, killed, back, killed',
    servers: 3,
    strikes: [{ kill: [0] }, { start: [0] }, { kill: [0] }, { start: [0] }, { kill: [0] }],
    idempotent: { cut: 'a few' },
    once: { '502': 'a few', cut: 'a few' },
    then: 'down',
  },
  {
    title: 'half of four are killed at the same moment',
    servers: 4,
    strikes: [{ kill: [0, 1] }],
    idempotent: { cut: 'a few' },
    once: { '502': 'a few', cut: 'a few' },
    then: 'down',
  },
  {
    title: 'half of four are down before the first request',
    servers: 4,
    before: { kill: [0, 1] },
    strikes: [],
    idempotent: {},
    once: {},
    then: 'down',
  },
  {
    title: 'half of four answer garbage',
    servers: 4,
    strikes: [{ conduct: 'garbage', of: [0, 1] }],
    idempotent: {},
    once: { '502': 'a few' },
    then: 'ejected',
  },
  {
    title: 'three of four answer garbage',
    servers: 4,
    strikes: [{ conduct: 'garbage', of: [0, 1, 2] }],
    idempotent: {},
    once: { '502': 'a few' },
    then: 'ejected',
  },
  {
    title: 'all of three are killed',
    servers: 3,
    pool: 'wait: 100ms',
    strikes: [{ kill: [0, 1, 2] }],
    idempotent: { '502': 'a few', '503': 'some', cut: 'a few' },
    once: { '502': 'a few', '503': 'some', cut: 'a few' },
    then: 'down',
  },
]
