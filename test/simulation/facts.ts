/** What clients asked for, what servers were asked to do, and what was answered: the material that the promises are checked on. */
import type { Link } from './link.ts'

/** `chain`: no client has sent it, it is the result of another job. */
export type RouteKind = 'queue' | 'held' | 'spill' | 'direct' | 'pulled' | 'chain'

/** One thing that a client wants done, however often it sends it. */
export interface Intent {
  readonly tag: number
  readonly route: RouteKind
  readonly method: 'POST' | 'PUT'
  readonly body: Buffer
  readonly key: string | undefined
  readonly idempotencyKey: string | undefined
  readonly delayMs: number
  readonly priority: number
  /** Times at which it was sent, to compare orders. */
  readonly sentAt: number[]
  /** As answered: job ids; more than one only where sending twice means two jobs. */
  readonly jobs: Map<string, Accepted>
  /** Answers that were taken for the result. */
  readonly results: Result[]
  /** The client was told that nothing was done, and may believe it. */
  nothingDone: boolean
  /** The client waits for an answer that it has a right to. */
  waiting: boolean
}

export interface Accepted {
  readonly id: string
  readonly token: string
  readonly at: number
  readonly sentAt: number
  /** As the client last read it. */
  status: string
  version: number
  ended: boolean
}

export interface Result {
  readonly status: number
  /** It came while the server answered. */
  readonly streamed: boolean
  readonly body: string
  readonly jobId: string | undefined
}

/** One request as it reached a server. */
export interface Run {
  readonly id: number
  readonly tag: number
  readonly server: string
  readonly at: number
  /** Undefined: a pull consumer received it. */
  readonly link: Link | undefined
  readonly job: { readonly id: string; readonly attempt: number; readonly fence: number; readonly queue: string } | undefined
  answer: { readonly status: number; readonly body: string; readonly whole: boolean } | undefined
  /** The server has said "not now", or asked to get it again. */
  mayBeSentAgain: boolean
}

/** What nobody has sent yet. */
export function newIntent(wanted: Omit<Intent, 'sentAt' | 'jobs' | 'results' | 'nothingDone' | 'waiting'>): Intent {
  return { ...wanted, sentAt: [], jobs: new Map(), results: [], nothingDone: false, waiting: false }
}

export class Facts {
  readonly intents = new Map<number, Intent>()
  readonly runs: Run[] = []
  readonly runsOfTag = new Map<number, Run[]>()
  readonly intentOfJob = new Map<string, Intent>()
  #runs = 0

  addRun(run: Omit<Run, 'id' | 'answer' | 'mayBeSentAgain'>): Run {
    const added: Run = { ...run, id: ++this.#runs, answer: undefined, mayBeSentAgain: false }
    this.runs.push(added)
    const same = this.runsOfTag.get(run.tag)
    if (same === undefined) this.runsOfTag.set(run.tag, [added])
    else same.push(added)
    return added
  }

  runsOf(tag: number): readonly Run[] {
    return this.runsOfTag.get(tag) ?? []
  }
}

/** The gateway still waits for this one: its connection is open and the answer has not arrived whole. */
export function isUnderWay(run: Run): boolean {
  const { link, answer } = run
  return link !== undefined && link.gatewayOpen && !(answer?.whole === true && link.gatewayHasAll)
}
