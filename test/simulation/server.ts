/**
 * A server of the simulation: reads real bytes, writes real bytes, and is as good or as bad as its temper has it. It may answer, refuse,
 * lie, hang, break off, die and come back. Everything that reaches it is noted.
 */
import type { SeededRandom } from '../support/seeded-random.ts'
import { GatewayConnection } from './exchange.ts'
import { type Facts, isUnderWay, type Run } from './facts.ts'
import { HttpReader, type Message } from './http-reader.ts'
import type { PeerEnd } from './link.ts'
import type { SimHost, SimNetwork } from './network.ts'
import type { World } from './world.ts'

/** Chances of what a request may meet; what is left is a plain success. */
export interface Temper {
  readonly busy: number
  readonly error: number
  readonly refuse: number
  readonly hang: number
  readonly reset: number
  readonly truncate: number
  readonly malformed: number
  readonly control: number
  readonly early: number
  readonly closing: number
  readonly report: number
  /** A job's end is reported later, or never. */
  readonly defer: number
  /** A large answer. */
  readonly large: number
  readonly workMsMax: number
  /** Answers in chunks pause in the middle. */
  readonly halting: boolean
  /** Connections on which nothing happens are closed after this long. */
  readonly idleMs: number
}

export const GOOD_TEMPER: Temper = {
  busy: 0,
  error: 0,
  refuse: 0,
  hang: 0,
  reset: 0,
  truncate: 0,
  malformed: 0,
  control: 0,
  early: 0,
  closing: 0.05,
  report: 0.1,
  defer: 0,
  large: 0.02,
  workMsMax: 60,
  halting: false,
  idleMs: 10_000,
}

export interface ServerParts {
  readonly world: World
  readonly network: SimNetwork
  readonly facts: Facts
  readonly random: SeededRandom
  /** Told of every request that reaches a server, before it is answered. */
  readonly arrived: (run: Run, message: Message) => void
  readonly jobOf: (id: string) => { readonly tag: number; readonly queue: string } | undefined
}

interface Answer {
  readonly status: number
  readonly headers: readonly string[]
  readonly body: string
  /** How it goes out. */
  readonly how: 'plain' | 'chunked' | 'interim' | 'truncated' | 'reset'
}

export class SimServer implements SimHost {
  readonly address: string
  temper: Temper
  up = true
  /** Connections are accepted and nothing is answered. */
  hung = false
  /** Its health check says no. */
  sick = false
  readonly #parts: ServerParts
  readonly #peers = new Set<PeerEnd>()

  constructor(address: string, temper: Temper, parts: ServerParts) {
    this.address = address
    this.temper = temper
    this.#parts = parts
    parts.network.up(address, this)
  }

  die(silently: boolean): void {
    if (!this.up) return
    this.up = false
    this.#parts.network.down(this.address, silently)
    this.#peers.clear()
  }

  comeBack(): void {
    this.hung = false
    this.sick = false
    if (this.up) return
    this.up = true
    this.#parts.network.up(this.address, this)
  }

  accept(peer: PeerEnd): void {
    this.#peers.add(peer)
    let run: Run | undefined
    const reader = new HttpReader('server', {
      head: (message) => {
        run = this.#begin(message, peer)
      },
      message: (message) => this.#requested(message, peer, run),
    })
    const { world } = this.#parts
    let heardAt = world.now
    const lookForIdle = (): void => {
      if (!this.#peers.has(peer)) return
      const idleMs = world.now - heardAt
      if (idleMs < this.temper.idleMs || reader.busy || (run !== undefined && run.answer === undefined))
        return void world.after(Math.max(100, this.temper.idleMs - idleMs), lookForIdle)
      this.#peers.delete(peer)
      peer.end()
    }
    world.after(this.temper.idleMs, lookForIdle)
    peer.handlers = {
      onData: (bytes) => {
        heardAt = world.now
        reader.feed(bytes)
      },
      onEnd: () => {
        this.#peers.delete(peer)
        peer.end()
      },
      onReset: () => void this.#peers.delete(peer),
    }
  }

  #begin(message: Message, peer: PeerEnd): Run | undefined {
    const [method = '', target = ''] = message.start.split(' ')
    const { facts, world, arrived, jobOf } = this.#parts
    const id = message.headers.get('spillway-job')
    const known = id === undefined ? undefined : jobOf(id)
    const own = /^\/(?:queue|held|spill|direct)\/(\d+)/.exec(target)?.[1]
    const tag = own === undefined ? known?.tag : Number(own)
    if (tag === undefined) return undefined
    const job =
      id === undefined
        ? undefined
        : {
            id,
            attempt: Number(message.headers.get('spillway-attempt')),
            fence: Number(message.headers.get('spillway-fence')),
            queue: known?.queue ?? '',
          }
    const run = facts.addRun({ tag, server: this.address, at: world.now, link: peer.link, job })
    const said = job === undefined ? 'live' : `job ${job.id} attempt ${job.attempt} fence ${job.fence}`
    world.history.log(`server ${this.address} gets ${method} ${target} (${said}) as run ${run.id}`)
    arrived(run, message)
    if (this.#draw(this.temper.early)) this.#answer(run, peer, this.#refusal())
    return run
  }

  #requested(message: Message, peer: PeerEnd, run: Run | undefined): void {
    const [, target = ''] = message.start.split(' ')
    if (this.hung) return
    if (target === '/healthz') return peer.send(`HTTP/1.1 ${this.sick ? '503 No' : '200 OK'}\r\nContent-Length: 0\r\n\r\n`)
    if (run === undefined || run.answer !== undefined) return
    const { facts, world, random } = this.#parts
    const intent = facts.intents.get(run.tag)
    world.history.check(intent !== undefined, 'nothing invented', () => `run ${run.id}: nobody sent ${run.tag}`)
    world.history.check(
      intent === undefined || message.body.equals(intent.body),
      'nothing altered',
      () =>
        `run ${run.id}: the body of ${run.tag} (${intent?.body.length} bytes) arrives with ${message.body.length} bytes, ${message.headers.get('transfer-encoding')}`,
    )
    const report = message.headers.get('spillway-report')
    if (report !== undefined && this.#draw(this.temper.report)) void this.#report(report, run)
    if (this.#draw(this.temper.hang)) return world.history.log(`server ${this.address} hangs at run ${run.id}`)
    world.after(1 + random.integer(this.temper.workMsMax), () => {
      if (!this.#peers.has(peer) || this.hung) return
      if (report !== undefined && this.#draw(this.temper.defer)) this.#defer(run, peer, report)
      else this.#answer(run, peer, this.#choose(run))
    })
  }

  #choose(run: Run): Answer {
    const { temper } = this
    const { random } = this.#parts
    const body = JSON.stringify({
      tag: run.tag,
      run: run.id,
      pad: 'x'.repeat(this.#draw(temper.large) ? random.integer(150_000) : random.integer(50)),
    })
    const ok: Answer = { status: random.pick([200, 200, 200, 201, 302]), headers: [], body, how: 'plain' }
    if (this.#draw(temper.busy)) return { ...ok, status: random.pick([503, 429]), headers: this.#retryAfter() }
    if (this.#draw(temper.error)) return { ...ok, status: random.pick([500, 502, 504, 408, 425, 507]) }
    if (this.#draw(temper.refuse)) return { ...ok, status: random.pick([400, 404, 409, 422, 501]) }
    if (this.#draw(temper.reset)) return { ...ok, how: 'reset' }
    if (this.#draw(temper.truncate)) return { ...ok, how: 'truncated' }
    if (this.#draw(temper.malformed)) return { ...ok, status: 99 }
    if (this.#draw(temper.control)) {
      const header = random.pick(['Spillway-Retry: never', 'Spillway-Retry: 200ms', 'Spillway-Retry: 2s'])
      return { ...ok, status: random.pick([200, 500, 503]), headers: [header] }
    }
    return { ...ok, how: random.pick(['plain', 'plain', 'chunked', 'interim']) }
  }

  /** Before it has read the request. */
  #refusal(): Answer {
    return { status: 413, headers: [], body: '', how: 'plain' }
  }

  #retryAfter(): readonly string[] {
    const { random } = this.#parts
    return random.chance(0.5) ? [] : [`Retry-After: ${random.integer(3)}`]
  }

  #answer(run: Run, peer: PeerEnd, answer: Answer): void {
    const { world } = this.#parts
    const { status, body, how } = answer
    const whole = how !== 'reset' && how !== 'truncated' && status >= 100
    const late = isUnderWay(run) ? '' : ', too late'
    run.answer = { status, body, whole }
    run.mayBeSentAgain = status === 503 || status === 429 || answer.headers.some((header) => header.startsWith('Spillway-Retry'))
    world.history.log(`server ${this.address} answers run ${run.id}: ${status} ${how}${late}`)
    const closing = this.#draw(this.temper.closing)
    const head = [`HTTP/1.1 ${status} Simulated`, `X-Run: ${run.id}`, ...answer.headers, ...(closing ? ['Connection: close'] : [])]
    if (how === 'interim') peer.send('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n')
    if (how === 'chunked') {
      const middle = body.length >> 1
      const [first = '', second = ''] = [body.slice(0, middle), body.slice(middle)].map((chunk) =>
        chunk === '' ? '' : `${chunk.length.toString(16)}\r\n${chunk}\r\n`,
      )
      const begin = `${head.join('\r\n')}\r\nTransfer-Encoding: chunked\r\n\r\n${first}`
      if (this.temper.halting) return this.#halt(peer, { begin, rest: `${second}0\r\n\r\n`, closing })
      peer.send(`${begin}${second}0\r\n\r\n`)
    } else {
      const text = `${head.join('\r\n')}\r\nContent-Length: ${body.length}\r\n\r\n${body}`
      peer.send(how === 'plain' || how === 'interim' ? text : text.slice(0, Math.max(1, text.length >> 1)))
    }
    if (how === 'reset') peer.reset()
    else if (how === 'truncated' || closing) peer.end()
  }

  /** It goes on without the exchange, and may report the end in time, too late, several times or never. */
  #defer(run: Run, peer: PeerEnd, report: string): void {
    const { random } = this.#parts
    const seconds = 1 + random.integer(8)
    this.#answer(run, peer, { status: 202, headers: [`Spillway-Defer: ${seconds}s`], body: '', how: 'plain' })
    if (!random.chance(0.2)) void this.#complete(run, report, random.integer(1200 * seconds))
  }

  async #complete(run: Run, report: string, afterMs: number): Promise<void> {
    const { world, random } = this.#parts
    if (random.chance(0.3)) await this.#ask(run, report, '/extend', { for: '9s' })
    await world.sleep(afterMs)
    const result = { tag: run.tag, run: run.id }
    run.answer = { status: 201, body: JSON.stringify(result), whole: true }
    for (let tries = 0; tries < 6; tries++) {
      const status = await this.#ask(run, report, '/complete?status=201', result)
      world.history.log(`run ${run.id} reports its end: ${status}`)
      // Who has its answer may ask once more all the same.
      if ((status === 204 && random.chance(0.8)) || status === 410) return
      await world.sleep(random.integer(1500))
    }
  }

  async #ask(run: Run, report: string, action: string, document: unknown): Promise<number | undefined> {
    const { world, network } = this.#parts
    const { host, pathname } = new URL(report)
    const connection = new GatewayConnection(world, network, host)
    const body = Buffer.from(JSON.stringify(document))
    const headers = [['Content-Location', `/run/${run.id}`]] as const
    const outcome = await connection.ask({ method: 'POST', target: pathname + action, headers, body, timeoutMs: 5000 })
    connection.leave()
    return outcome.kind === 'answer' ? outcome.status : undefined
  }

  #halt(peer: PeerEnd, { begin, rest, closing }: { readonly begin: string; readonly rest: string; readonly closing: boolean }): void {
    const { world, random } = this.#parts
    peer.send(begin)
    world.after(1 + random.integer(this.temper.workMsMax), () => {
      if (!this.#peers.has(peer) || this.hung) return
      peer.send(rest)
      if (closing) peer.end()
    })
  }

  /** A progress report to the address that came with the attempt. */
  async #report(url: string, run: Run): Promise<void> {
    const { world, network, random } = this.#parts
    await world.sleep(random.integer(this.temper.workMsMax))
    const { host, pathname } = new URL(url)
    const connection = new GatewayConnection(world, network, host)
    const body = Buffer.from(JSON.stringify({ run: run.id }))
    const outcome = await connection.ask({ method: 'POST', target: pathname, body, timeoutMs: 5000 })
    world.history.log(`run ${run.id} reports progress: ${outcome.kind === 'answer' ? outcome.status : outcome.reason}`)
    connection.leave()
  }

  #draw(chance: number): boolean {
    return chance > 0 && this.#parts.random.chance(chance)
  }
}
