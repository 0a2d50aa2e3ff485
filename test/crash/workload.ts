/** Clients of a gateway that comes and goes: some submit jobs (with a key: one after the other; without one; to be sent once), some ask how jobs are. */
import { ask } from '../support/http-client.ts'
import { monotonicMicros } from '../support/children.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import { until } from '../support/until.ts'
import { inShort } from '../support/work-log.ts'
import type { AcceptedJob } from './history.ts'

const PAUSE_MS = 60
/** Some bodies are larger than what the store keeps in its database. */
const LARGE = 0.03
const LARGE_BYTES = 300_000
const POLLERS = 3
const ASKED_AT_ONCE = 16
const DONE_LIMIT_MS = 120_000

type Kind = 'keyed' | 'plain' | 'once'

interface Watched extends AcceptedJob {
  readonly path: string
}

export class Workload {
  readonly accepted: Watched[] = []
  /** Answers that no client should get. */
  readonly refusals: string[] = []
  readonly #random: SeededRandom
  readonly #url: () => string | undefined
  readonly #clients: Promise<void>[] = []
  #stopped = false

  constructor(random: SeededRandom, url: () => string | undefined) {
    this.#random = random
    this.#url = url
  }

  start(clients: Readonly<Record<Kind, number>>): void {
    for (const kind of ['keyed', 'plain', 'once'] as const) {
      for (let i = 0; i < clients[kind]; i++) this.#clients.push(this.#submit(`${kind}-${i}`, kind))
    }
    for (let i = 0; i < POLLERS; i++) this.#clients.push(this.#poll())
  }

  /** After so many jobs have been accepted. */
  async stop(acceptedMin: number): Promise<void> {
    await until(`${acceptedMin} jobs are accepted`, () => this.accepted.length >= acceptedMin, DONE_LIMIT_MS)
    this.#stopped = true
    await Promise.all(this.#clients)
  }

  /** Every accepted job has ended, its result is read; or the time is up, and the history tells. */
  async allEnded(): Promise<void> {
    const left = [...this.accepted]
    await Promise.all(
      Array.from({ length: ASKED_AT_ONCE }, async () => {
        for (let job = left.pop(); job !== undefined; job = left.pop()) {
          const answer = await ask(`${this.#url()}${job.path}/result?wait=60s`)
          this.#saw(job, String(answer.headers['spillway-status'] ?? 'unknown'))
          if (answer.status === 200) job.result = String(answer.json()['body'])
        }
      }),
    )
  }

  async #submit(name: string, kind: Kind): Promise<void> {
    for (let n = 0; !this.#stopped; ) {
      await this.#pause()
      const url = this.#url()
      if (url === undefined) continue
      const sent = `${name}/${n++}${kind === 'plain' && this.#random.chance(LARGE) ? 'x'.repeat(LARGE_BYTES) : ''}`
      const body = inShort(sent)
      try {
        const answer = await ask(`${url}/${kind === 'once' ? 'once' : 'work'}`, {
          method: 'POST',
          body: sent,
          headers: kind === 'keyed' ? { 'X-Key': name } : {},
        })
        if (answer.status !== 202) this.refusals.push(`${answer.status} ${answer.text}`)
        else {
          const id = String(answer.headers['spillway-job'])
          const path = new URL(String(answer.headers.location), url).pathname
          this.accepted.push({ id, once: kind === 'once', path, body, status: 'unknown', result: undefined, seenSucceededAt: undefined })
        }
      } catch {
        // Killed meanwhile: nobody knows whether it was accepted.
      }
    }
  }

  async #poll(): Promise<void> {
    while (!this.#stopped) {
      await this.#pause()
      const url = this.#url()
      if (url === undefined || this.accepted.length === 0) continue
      const job = this.#random.pick(this.accepted)
      try {
        const answer = await ask(`${url}${job.path}`)
        if (answer.status === 200) this.#saw(job, String(answer.json()['status']))
        else this.refusals.push(`${answer.status} for the status of ${job.id}`)
      } catch {
        // Killed meanwhile.
      }
    }
  }

  #saw(job: Watched, status: string): void {
    if (job.status === 'succeeded' && status !== 'succeeded') this.refusals.push(`${job.id} had succeeded and is ${status}`)
    job.status = status
    if (status === 'succeeded') job.seenSucceededAt ??= monotonicMicros()
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, this.#random.integer(PAUSE_MS)))
  }
}
