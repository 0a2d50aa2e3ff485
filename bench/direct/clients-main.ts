/**
 * Clients of the direct path, as a process of its own. `pace`: so many requests a second, due on a fixed schedule whatever the proxy does, and
 * counted from the moment at which they were due. `hold`: so many connections, each served once and then silent, until they are let go.
 */
import { connect, type Socket } from 'node:net'
import process from 'node:process'
import { connect as connectTls } from 'node:tls'
import { quantile } from '../glue.ts'

export type Order =
  | { readonly kind: 'pace'; readonly url: string; readonly perSecond: number; readonly seconds: number; readonly connections: number }
  | { readonly kind: 'hold'; readonly url: string; readonly connections: number }
  | { readonly kind: 'letGo' }

export interface Paced {
  readonly due: number
  readonly answered: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

export type Report =
  | { readonly paced: Paced }
  /** So many are open. */
  | { readonly held: number }
  | { readonly wrong: string }

/** What is due is sent together, once in so long. */
const TICK_MS = 1
const WARM_UP_SHARE = 0.2
const LATE_MS = 5_000
const OPENING_AT_ONCE = 32
/** The origin's answer ends with this, and has it nowhere else. */
const LAST_BYTES = Buffer.from('89abcdef')

/** One request at a time. Broken once, it stays so. */
class Client {
  readonly socket: Socket
  readonly #request: Buffer
  #answered: ((isRight: boolean) => void) | undefined
  isOpen = true

  constructor(url: URL, onOpen: () => void) {
    const { hostname: host, port, protocol, pathname } = url
    this.#request = Buffer.from(`GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
    this.socket =
      protocol === 'https:'
        ? connectTls({ host, port: Number(port), rejectUnauthorized: false }, onOpen)
        : connect({ host, port: Number(port), noDelay: true }, onOpen)
    this.socket.on('data', (chunk: Buffer) => {
      if (!chunk.subarray(-LAST_BYTES.length).equals(LAST_BYTES)) return
      this.#end(true)
    })
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => {
      this.isOpen = false
      this.#end(false)
      onOpen()
    })
  }

  ask(answered: (isRight: boolean) => void): void {
    this.#answered = answered
    if (this.isOpen) this.socket.write(this.#request)
    else this.#end(false)
  }

  #end(isRight: boolean): void {
    const answered = this.#answered
    this.#answered = undefined
    answered?.(isRight)
  }
}

function open(url: string): Promise<Client> {
  return new Promise((resolve) => {
    const client = new Client(new URL(url), () => resolve(client))
  })
}

/** On a free connection, or on the next that will be. */
class Crowd {
  readonly tookMs: number[] = []
  answered = 0
  #free: Client[]
  #waiting: number[] = []

  constructor(clients: readonly Client[]) {
    this.#free = [...clients]
  }

  ask(dueAt: number): void {
    const client = this.#free.pop()
    if (client === undefined) this.#waiting.push(dueAt)
    else this.#askOn(client, dueAt)
  }

  #askOn(client: Client, dueAt: number): void {
    client.ask((isRight) => {
      if (!isRight) return
      this.answered++
      this.tookMs.push(performance.now() - dueAt)
      const next = this.#waiting.shift()
      if (next === undefined) this.#free.push(client)
      else this.#askOn(client, next)
    })
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function pace({ url, perSecond, seconds, connections }: Extract<Order, { kind: 'pace' }>): Promise<Paced> {
  const clients = await Promise.all(Array.from({ length: connections }, () => open(url)))
  const crowd = new Crowd(clients)
  const startedAt = performance.now()
  let due = 0
  for (let at = 0; at < seconds * 1000; at += TICK_MS) {
    const lateMs = performance.now() - startedAt - at
    if (lateMs < 0) await pause(-lateMs)
    for (const dueNow = Math.floor(((at + TICK_MS) * perSecond) / 1000); due < dueNow; due++) crowd.ask(startedAt + at)
  }
  for (const endsAt = performance.now() + LATE_MS; crowd.answered < due && performance.now() < endsAt; ) await pause(10)
  for (const { socket } of clients) socket.destroy()
  const counted = crowd.tookMs.slice(Math.floor(crowd.tookMs.length * WARM_UP_SHARE))
  const [p50Ms, p99Ms, maxMs] = [quantile(counted, 0.5), quantile(counted, 0.99), quantile(counted, 1)]
  return { due, answered: crowd.answered, p50Ms, p99Ms, maxMs }
}

const held: Client[] = []

async function hold({ url, connections }: Extract<Order, { kind: 'hold' }>): Promise<void> {
  const openOne = async (): Promise<void> => {
    const client = await open(url)
    held.push(client)
    await new Promise((resolve) => client.ask(resolve))
  }
  while (held.length < connections) await Promise.all(Array.from({ length: Math.min(OPENING_AT_ONCE, connections - held.length) }, openOne))
}

function letGo(): number {
  const still = held.splice(0).filter(({ isOpen, socket }) => {
    socket.destroy()
    return isOpen
  })
  return still.length
}

async function carryOut(order: Order): Promise<Report> {
  if (order.kind === 'pace') return { paced: await pace(order) }
  if (order.kind === 'letGo') return { held: letGo() }
  await hold(order)
  return { held: held.filter(({ isOpen }) => isOpen).length }
}

function main(): void {
  process.on('message', (order: Order) => {
    carryOut(order).then(
      (report) => process.send?.(report),
      (error: unknown) => process.send?.({ wrong: String(error) } satisfies Report),
    )
  })
  process.on('disconnect', () => process.exit())
}

if (import.meta.main) main()
