/**
 * A client of the simulation: sends one request in its own way, and goes on until it knows how that ended, or may not know it.
 * It believes what it is told, and notes where two answers contradict each other.
 */
import type { SeededRandom } from '../support/seeded-random.ts'
import { API_HEADERS, type Asked, GatewayConnection, type Outcome } from './exchange.ts'
import type { Accepted, Facts, Intent } from './facts.ts'
import { type Message, statusOf } from './http-reader.ts'
import type { SimNetwork } from './network.ts'
import type { Process, World } from './world.ts'

export interface ClientParts {
  readonly world: World
  readonly network: SimNetwork
  readonly facts: Facts
  readonly random: SeededRandom
  readonly gatewayAddress: string
  /** Clients misbehave: leave, vanish, cancel. */
  readonly unsteady: () => boolean
  /** Answers to it come while servers answer, where they become jobs. */
  readonly streams: (intent: Intent) => boolean
  /** The gateway cannot be blamed for silence: its machine vanished, or the client did. */
  readonly excused: (connection: GatewayConnection) => boolean
  /** The job has ended and may be forgotten. */
  readonly mayBeGone: (id: string) => boolean
  /** No faults, a gateway that runs, servers that are up: answers come when they should. */
  readonly isWell: () => boolean
  /** When that process was asked to stop, if it was. */
  readonly stoppedAt: (process: Process | undefined) => number | undefined
  readonly drainTimeoutMs: number
}

const PATIENCE_MS = 60_000
/** The longest wait of a route, the longest way to a server, and some more. */
const ANSWER_MS = 15_000
/** What was sent this long ago has arrived, whatever the weather. */
const HEARD_MS = 3_500
const ENDED = new Set(['succeeded', 'failed', 'cancelled', 'expired'])
/** Of a request that is refused, or that nobody answers. */
const SENDS_MAX = 15
const RESULT_TRIES_MAX = 200

export class Client {
  readonly #parts: ClientParts
  readonly #intent: Intent
  #connection: GatewayConnection | undefined

  constructor(parts: ClientParts, intent: Intent) {
    this.#parts = parts
    this.#intent = intent
  }

  async run(): Promise<void> {
    const { world, random } = this.#parts
    for (let sends = 0; sends < SENDS_MAX; sends++) {
      const again = await this.#submit()
      if (!again) break
      await world.sleep(200 + random.integer(2000))
    }
    for (const accepted of this.#intent.jobs.values()) await this.#follow(accepted)
    this.#connection?.leave()
  }

  // --- asking

  async #ask(asked: Asked): Promise<Outcome> {
    const { world, network, gatewayAddress, random } = this.#parts
    if (this.#connection === undefined || this.#connection.over || random.chance(0.2)) {
      this.#connection?.leave()
      this.#connection = new GatewayConnection(world, network, gatewayAddress)
    }
    const connection = this.#connection
    this.#maybeLeave(connection)
    if (this.#parts.unsteady() && random.chance(0.05)) connection.stall(random.integer(6000))
    const askedAt = world.now
    const outcome = await connection.ask(asked)
    if (outcome.kind === 'broken' && !connection.stalled) this.#checkStop(connection, asked, askedAt)
    if (outcome.kind === 'broken' && outcome.reason === 'no answer in time' && !this.#parts.excused(connection)) {
      world.history.violated('every client gets an answer', `${asked.method} ${asked.target} of ${this.#intent.tag}`)
    }
    return outcome
  }

  /** A gateway that is asked to stop answers first whom it has heard before. */
  #checkStop(connection: GatewayConnection, asked: Asked, askedAt: number): void {
    const { world, facts, stoppedAt, drainTimeoutMs } = this.#parts
    // What a server has broken off is broken off for the client too, whoever stops meanwhile.
    if (facts.runsOf(this.#intent.tag).some(({ answer }) => answer?.whole === false)) return
    const at = stoppedAt(connection.process)
    if (at === undefined || connection.left || askedAt > at - HEARD_MS || world.now > at + drainTimeoutMs - HEARD_MS || world.now < at)
      return
    world.history.violated('a gateway that stops answers first', `${asked.method} ${asked.target} of ${this.#intent.tag}`)
  }

  #maybeLeave(connection: GatewayConnection): void {
    const { world, random, unsteady } = this.#parts
    if (!unsteady() || !random.chance(0.06)) return
    const vanish = random.chance(0.3)
    world.after(random.integer(3000), () => {
      if (connection.over) return
      world.history.log(`client ${this.#intent.tag} ${vanish ? 'vanishes' : 'leaves'}`)
      if (vanish) connection.vanish()
      connection.leave()
    })
  }

  // --- the request itself

  /** True: it is to be sent again. */
  async #submit(): Promise<boolean> {
    const { world, random } = this.#parts
    const intent = this.#intent
    const { method, route, tag, body } = intent
    if (route === 'pulled') return this.#send()
    const target = `/${route}/${tag}`
    const headers = this.#headers()
    const sentAt = world.now
    intent.sentAt.push(sentAt)
    world.history.log(`client ${tag} sends ${method} ${target} ${headers.map((header) => header.join('=')).join(' ')}`)
    intent.waiting = true
    const early = (message: Message): void => void this.#accepted(message, sentAt)
    const events = headers.some(([, value]) => value.includes('events'))
    const streaming = events ? { onHead: early, onPart: this.#events(() => this.#latest()) } : {}
    const asked = { method, target, headers, body, chunked: random.chance(0.2), timeoutMs: PATIENCE_MS, ...streaming }
    const well = this.#parts.isWell() && !events
    const outcome = await this.#ask(asked)
    const tookMs = Math.round(world.now - sentAt)
    const excused = this.#connection !== undefined && this.#parts.excused(this.#connection)
    world.history.check(!well || excused || tookMs <= ANSWER_MS, 'every client gets its answer in time', () => `${tag}: ${tookMs} ms`)
    intent.waiting = false
    return this.#submitted(outcome, sentAt)
  }

  /** By the queue API. */
  async #send(): Promise<boolean> {
    const { world } = this.#parts
    const { tag, body, key, idempotencyKey, delayMs, priority, sentAt: sent } = this.#intent
    const document = {
      base64: body.toString('base64'),
      target: `/pulled/${tag}`,
      ...(key === undefined ? {} : { key }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
      ...(delayMs > 0 ? { delay: `${delayMs}ms` } : {}),
      ...(priority > 0 ? { priority } : {}),
    }
    const sentAt = world.now
    sent.push(sentAt)
    world.history.log(`client ${tag} sends to the queue pulled ${key === undefined ? '' : `key ${key}`}`)
    const asked = { method: 'POST', target: '/_spillway/api/queues/pulled/jobs', headers: API_HEADERS, timeoutMs: PATIENCE_MS }
    const outcome = await this.#ask({ ...asked, body: Buffer.from(JSON.stringify(document)) })
    const mayRepeat = idempotencyKey !== undefined && this.#patient()
    if (outcome.kind === 'broken') return mayRepeat
    const result = parse(outcome.message.body)
    if (typeof result['token'] === 'string') this.#has(String(result['id']), result['token'], sentAt)
    else {
      const tooLarge = outcome.status === 400 && String(result['detail']).includes('limits.jobBody')
      world.history.check(
        tooLarge || outcome.status === 503 || outcome.status === 413,
        'answers make sense',
        () => `${tag}: ${outcome.status}`,
      )
    }
    return mayRepeat && outcome.status === 503
  }

  #headers(): (readonly [string, string])[] {
    const { random } = this.#parts
    const { key, idempotencyKey, delayMs, priority, route } = this.#intent
    const headers: (readonly [string, string])[] = []
    if (key !== undefined) headers.push(['X-Key', key])
    if (idempotencyKey !== undefined) headers.push(['Idempotency-Key', idempotencyKey])
    if (route === 'direct') return headers
    if (delayMs > 0) headers.push(['Spillway-Delay', `${delayMs}ms`])
    if (priority > 0) headers.push(['Spillway-Priority', String(priority)])
    const prefer = random.pick(['', '', 'respond-async', 'wait=3', 'respond-async, events'])
    if (prefer !== '') headers.push(['Prefer', prefer])
    return headers
  }

  #submitted(outcome: Outcome, sentAt: number): boolean {
    const { world } = this.#parts
    const intent = this.#intent
    const mayRepeat = intent.idempotencyKey !== undefined
    if (outcome.kind === 'broken') {
      world.history.log(`client ${intent.tag} hears nothing: ${outcome.reason}`)
      this.#broken(outcome.head, sentAt)
      return mayRepeat && intent.jobs.size === 0 && this.#patient()
    }
    const { status, message } = outcome
    world.history.log(`client ${intent.tag} is answered ${status} ${message.headers.get('spillway-status') ?? ''}`)
    if (runOf(message) !== undefined) {
      this.#result(message)
      return false
    }
    if (this.#accepted(message, sentAt)) return false
    if (status < 400) {
      world.history.violated('answers make sense', `${intent.tag} is answered ${status} by nobody`)
      return false
    }
    const problem = parse(message.body)
    if (problem['code'] === 'wait_ended') intent.nothingDone = !mayRepeat
    const ended = ENDED.has(message.headers.get('spillway-status') ?? '')
    if (problem['code'] === 'no_such_job') {
      const id = message.headers.get('spillway-job') ?? ''
      world.history.check(this.#parts.mayBeGone(id), 'accepted jobs are kept', () => `${id} is answered 404`)
    } else if (ended && problem['code'] !== 'wait_ended') this.#noteResult(message)
    return mayRepeat && (status === 503 || status === 500) && this.#patient()
  }

  /** Of an answer that came while the server answered, it has heard where the rest is. */
  #broken(head: Message | undefined, sentAt: number): void {
    const id = head?.headers.get('spillway-job')
    const token = /\/jobs\/([^/]+)\/result>; rel="monitor"/.exec(head?.headers.get('link') ?? '')?.[1]
    if (id !== undefined && token !== undefined) this.#has(id, token, sentAt)
  }

  #patient(): boolean {
    return this.#intent.sentAt.length < SENDS_MAX
  }

  /** The answer of a server, through whatever way. */
  #result(message: Message): void {
    const { world, facts } = this.#parts
    const intent = this.#intent
    const run = facts.runs[Number(runOf(message)) - 1]
    const status = statusOf(message)
    const right =
      run !== undefined && run.tag === intent.tag && run.answer?.status === status && run.answer.body === message.body.toString('latin1')
    world.history.check(right, 'an answer is what a server answered', () => `${intent.tag} got ${status} of run ${run?.id} of ${run?.tag}`)
    this.#noteResult(message)
  }

  /** Whoever has been given the result of a job is never given another one. */
  #noteResult(message: Message): void {
    const intent = this.#intent
    const jobId = message.headers.get('spillway-job')
    const streamed = message.headers.get('spillway-offset') !== undefined
    const result = { status: statusOf(message), body: message.body.toString('latin1'), jobId, streamed }
    const before = jobId === undefined ? undefined : intent.results.find((each) => each.jobId === jobId)
    const same = before === undefined || (before.status === result.status && before.body === result.body)
    this.#parts.world.history.check(
      same,
      'a result stays what it is',
      () => `${intent.tag}: ${before?.status} ${before?.body.slice(0, 100)}, then ${result.status} ${result.body.slice(0, 100)}`,
    )
    intent.results.push(result)
  }

  #accepted(message: Message, sentAt: number): boolean {
    const location = message.headers.get('location')
    const id = message.headers.get('spillway-job')
    if (location === undefined || id === undefined) return false
    this.#has(id, location.slice(location.lastIndexOf('/') + 1), sentAt)
    return true
  }

  #has(id: string, token: string, sentAt: number): void {
    const { world, facts } = this.#parts
    const intent = this.#intent
    facts.intentOfJob.set(id, intent)
    if (intent.jobs.has(id)) return
    const accepted: Accepted = { id, token, at: world.now, sentAt, status: 'queued', version: 0, ended: false }
    intent.jobs.set(id, accepted)
    world.history.log(`client ${intent.tag} has job ${id}`)
  }

  // --- what becomes of it

  async #follow(accepted: Accepted): Promise<void> {
    const { world, random } = this.#parts
    while (!accepted.ended) {
      await this.#look(accepted)
      if (!accepted.ended) await world.sleep(300 + random.integer(3000))
    }
    for (let tries = 0; tries < RESULT_TRIES_MAX && !(await this.#fetchResult(accepted)); tries++) await world.sleep(1000)
  }

  async #look(accepted: Accepted): Promise<void> {
    const { random, unsteady } = this.#parts
    const self = `/_spillway/jobs/${accepted.token}`
    const chance = random.unit()
    if (unsteady() && chance < 0.05) return this.#status(accepted, { method: 'DELETE', target: self, timeoutMs: PATIENCE_MS })
    if (this.#parts.streams(this.#intent) && random.chance(0.4)) return this.#readAnswer(accepted)
    if (chance < 0.4) return this.#status(accepted, { method: 'GET', target: self, timeoutMs: PATIENCE_MS })
    if (chance < 0.7) return this.#status(accepted, { method: 'GET', target: `${self}?wait=4s`, timeoutMs: PATIENCE_MS })
    const headers = random.chance(0.5) ? [['Accept', 'application/x-ndjson'] as const] : []
    const asked = { method: 'GET', target: `${self}/events`, headers, timeoutMs: PATIENCE_MS }
    const outcome = await this.#ask({ ...asked, onPart: this.#events(() => accepted) })
    if (outcome.kind === 'answer' && outcome.status === 404 && this.#parts.mayBeGone(accepted.id)) accepted.ended = true
  }

  /** As events: over attempts that broke off, to the end of the job. */
  async #readAnswer(accepted: Accepted): Promise<void> {
    const { world, facts } = this.#parts
    const target = `/_spillway/jobs/${accepted.token}/result`
    let text = ''
    let rest = ''
    let run = 0
    const onPart = (part: Buffer): void => {
      const lines = (rest + part.toString('latin1')).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const event = JSON.parse(line) as Record<string, unknown> & { readonly headers?: readonly (readonly [string, string])[] }
        if (event['event'] === 'answer') {
          run = Number(runOf({ headers: new Map(event.headers?.map(([name, value]) => [name.toLowerCase(), value])) }))
        }
        if (event['event'] === 'data') text += String(event['text'])
        if (event['event'] === 'reset') [text, run] = ['', 0]
        if (event['event'] !== 'end') continue
        this.#sees(accepted, String(event['status']), Number(event['version']))
        if (event['status'] !== 'succeeded' || run === 0) continue
        const answer = facts.runs[run - 1]?.answer
        const right = answer?.body === text && answer.whole
        world.history.check(right, 'an answer is what a server answered', () => `${accepted.id} got ${text.length} bytes of run ${run}`)
      }
    }
    const headers = [['Accept', 'application/x-ndjson'] as const]
    const outcome = await this.#ask({ method: 'GET', target, headers, timeoutMs: PATIENCE_MS, onPart })
    if (outcome.kind === 'answer' && outcome.status === 404 && this.#parts.mayBeGone(accepted.id)) accepted.ended = true
  }

  async #status(accepted: Accepted, asked: Asked): Promise<void> {
    const outcome = await this.#ask(asked)
    if (outcome.kind === 'broken') return
    const { status, message } = outcome
    if (status === 404 && this.#parts.mayBeGone(accepted.id)) {
      accepted.ended = true
      return
    }
    if (status !== 200) {
      this.#parts.world.history.check(
        status === 503,
        'accepted jobs are kept',
        () => `${asked.method} ${accepted.id} is answered ${status}`,
      )
      return
    }
    const document = parse(message.body)
    this.#sees(accepted, String(document['status']), undefined)
  }

  /** Reads the pieces of an event stream, of either format. */
  #events(of: () => Accepted | undefined): (part: Buffer) => void {
    let rest = ''
    return (part) => {
      rest += part.toString('latin1')
      const lines = rest.split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        const data = line.startsWith('data: ') ? line.slice(6) : line.startsWith('{') ? line : undefined
        const event = data === undefined ? undefined : (JSON.parse(data) as Record<string, unknown>)
        const accepted = of()
        if (event?.['version'] !== undefined && accepted !== undefined)
          this.#sees(accepted, String(event['status']), Number(event['version']))
      }
    }
  }

  #latest(): Accepted | undefined {
    return [...this.#intent.jobs.values()].at(-1)
  }

  #sees(accepted: Accepted, status: string, version: number | undefined): void {
    const { history } = this.#parts.world
    history.check(
      !accepted.ended || accepted.status === status,
      'an end is an end',
      () => `${accepted.id} was ${accepted.status} and is ${status}`,
    )
    history.check(
      (version ?? accepted.version) >= accepted.version,
      'versions grow',
      () => `${accepted.id}: ${version} after ${accepted.version}`,
    )
    accepted.version = version ?? accepted.version
    if (accepted.status !== status) history.log(`client ${this.#intent.tag} sees ${accepted.id} ${status}`)
    accepted.status = status
    accepted.ended = ENDED.has(status)
  }

  async #fetchResult(accepted: Accepted): Promise<boolean> {
    const outcome = await this.#ask({ method: 'GET', target: `/_spillway/jobs/${accepted.token}/result`, timeoutMs: PATIENCE_MS })
    if (outcome.kind === 'broken') return false
    const { status, message } = outcome
    const { history } = this.#parts.world
    if (status === 404 && this.#parts.mayBeGone(accepted.id)) return true
    if (runOf(message) !== undefined) this.#result(message)
    else if (accepted.status === 'cancelled' || accepted.status === 'expired')
      history.check(
        status === 410 || status === 503,
        'an end is an end',
        () => `the result of ${accepted.status} ${accepted.id} is ${status}`,
      )
    else if (accepted.status === 'succeeded')
      history.check(status === 503, 'succeeded means that the result can be read', () => `${accepted.id} is answered ${status}`)
    else
      history.check(
        status === 503 || status === 502 || status === 504,
        'answers make sense',
        () => `the result of ${accepted.id} is ${status}`,
      )
    return status !== 503 || runOf(message) !== undefined || parse(message.body)['code'] !== 'store_unavailable'
  }
}

function parse(body: Buffer): Record<string, unknown> {
  try {
    return JSON.parse(body.toString('utf8')) as Record<string, unknown>
  } catch {
    return {}
  }
}

/** Which run made it; one that was reported beside an answer says so in its own way. Undefined: it is the gateway's own. */
function runOf({ headers }: Pick<Message, 'headers'>): string | undefined {
  return headers.get('x-run') ?? headers.get('content-location')?.slice('/run/'.length)
}
