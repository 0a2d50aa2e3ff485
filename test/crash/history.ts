/**
 * What was seen over several lives of a gateway (by clients, by servers, and in the store after each kill), and the rules that it must keep.
 * Order within a key is by fence, which is what a server can go by; times only say what one life did at once.
 */
import type { Execution } from '../support/work-log.ts'

export interface AcceptedJob {
  readonly id: string
  /** Not to be sent again once it may have reached a server. */
  readonly once: boolean
  /** What its last status was. */
  status: string
  /** Body of its result; the server echoes what it was sent. */
  result: string | undefined
  readonly body: string
  /** When a client first saw that it had succeeded. */
  seenSucceededAt: number | undefined
}

export interface Life {
  readonly name: string
  /** Jobs in flight in the store when this life was killed; undefined: it was not. */
  readonly inFlightAtKill: ReadonlySet<string> | undefined
}

export interface History {
  readonly accepted: readonly AcceptedJob[]
  readonly lives: readonly Life[]
  readonly executions: readonly Execution[]
}

/** Bodies of keyed jobs: `<key>/<number>`, the number growing with each submission. */
export function sequenceOf(body: string): number {
  return Number(body.slice(body.lastIndexOf('/') + 1))
}

/** What broke a rule, in words; empty: nothing did. */
export function violations(history: History): readonly string[] {
  const found: string[] = []
  const byJob = Map.groupBy(history.executions, (execution) => execution.job)
  for (const executions of byJob.values()) executions.sort((a, b) => a.fence - b.fence)
  const inFlight = new Set(history.lives.flatMap(({ inFlightAtKill }) => [...(inFlightAtKill ?? [])]))
  for (const job of history.accepted) found.push(...checkJob(job, byJob.get(job.id) ?? [], inFlight.has(job.id)))
  for (const [job, executions] of byJob) found.push(...checkRepeats(job, executions, history.lives))
  const keyed = history.executions.filter((execution) => execution.key !== undefined)
  for (const [key, executions] of Map.groupBy(keyed, (execution) => execution.key)) found.push(...checkKey(key ?? '', executions))
  found.push(...checkFences(history))
  return found
}

function* checkJob(job: AcceptedJob, executions: readonly Execution[], wasInFlight: boolean): Generator<string> {
  const { id, status, seenSucceededAt } = job
  if (job.once && executions.length > 1) yield `job ${id} may be sent once, and was sent ${executions.length} times`
  // Nobody knows what became of it: the one end besides success, and only for these jobs.
  const unknownOutcome = job.once && wasInFlight && status === 'failed'
  if (status !== 'succeeded' && !unknownOutcome) yield `job ${id} was accepted and is ${status}`
  else if (status === 'succeeded' && executions.length === 0) yield `job ${id} succeeded and no server worked on it`
  else if (status === 'succeeded' && job.result !== job.body) yield `job ${id} has the result of ${job.result}, not of ${job.body}`
  for (const execution of executions) {
    if (execution.body !== job.body) yield `job ${id} reached a server as ${execution.body}, not as ${job.body}`
    if (seenSucceededAt !== undefined && execution.startAt > seenSucceededAt) yield `job ${id} was sent again after a client saw it succeed`
  }
}

/** A job is sent again only by a later life, and only if it was in flight when an earlier one was killed. */
function* checkRepeats(job: string, executions: readonly Execution[], lives: readonly Life[]): Generator<string> {
  for (const [i, execution] of executions.entries()) {
    const life = lives.findIndex(({ name }) => name === execution.life)
    if (life < 0) yield `job ${job} was sent by ${execution.life}, which never lived`
    const before = executions[i - 1]
    if (before === undefined) continue
    const lifeBefore = lives.findIndex(({ name }) => name === before.life)
    if (lifeBefore >= life) yield `job ${job} was sent twice by ${execution.life}`
    else if (lives[lifeBefore]?.inFlightAtKill?.has(job) !== true)
      yield `job ${job} was sent again after ${before.life}, where it was not in flight at the end`
  }
}

function* checkKey(key: string, executions: readonly Execution[]): Generator<string> {
  const inOrder = executions.toSorted((a, b) => a.fence - b.fence)
  for (const [i, execution] of inOrder.entries()) {
    const before = inOrder[i - 1]
    if (before === undefined) continue
    if (sequenceOf(execution.body) < sequenceOf(before.body)) yield `key ${key}: ${execution.body} came after ${before.body}`
    const together = before.endAt === undefined || execution.startAt < before.endAt
    if (together && before.life === execution.life)
      yield `key ${key}: ${before.body} and ${execution.body} ran at once in ${execution.life}`
  }
}

/** Never the same twice, and every life's are above all of the life before. */
function* checkFences(history: History): Generator<string> {
  const inOrder = history.executions.toSorted((a, b) => a.fence - b.fence)
  const lifeOf = (execution: Execution): number => history.lives.findIndex(({ name }) => name === execution.life)
  for (const [i, execution] of inOrder.entries()) {
    const before = inOrder[i - 1]
    if (before === undefined) continue
    if (before.fence === execution.fence) yield `fence ${execution.fence} was given twice`
    if (lifeOf(before) > lifeOf(execution)) yield `fence ${execution.fence} of ${execution.life} is above one of ${before.life}`
  }
}
