/**
 * How long the way takes when nothing else is to be done: from a client's POST until its request reaches the server, and from the server's
 * answer until the client's event stream tells of the end. One job at a time; client and server are this process, so there is one clock.
 */
import { once } from 'node:events'
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo } from 'node:net'
import path from 'node:path'
import { Agent, request } from 'undici'

export interface Latency {
  readonly toServerMs: readonly number[]
  readonly toEventMs: readonly number[]
}

/** The server behind `/probe`: tells of each request, and answers when it is told to. */
export class ProbeServer {
  readonly #server = createServer((incoming, outgoing) => this.#received(incoming, outgoing))
  #waiting: ((response: { readonly at: number; readonly outgoing: ServerResponse }) => void) | undefined

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  /** The next request. */
  next(): Promise<{ readonly at: number; readonly outgoing: ServerResponse }> {
    return new Promise((resolve) => {
      this.#waiting = resolve
    })
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  #received(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const at = performance.now()
    incoming.resume().on('end', () => {
      const waiting = this.#waiting
      this.#waiting = undefined
      if (waiting === undefined) outgoing.end('done')
      else waiting({ at, outgoing })
    })
  }
}

const PAUSE_MS = 5

export async function measureLatency(url: string, probe: ProbeServer, jobs: number): Promise<Latency> {
  // A connection each for the POST and for the events, kept.
  const agent = new Agent({ connections: 2, pipelining: 1 })
  const toServerMs: number[] = []
  const toEventMs: number[] = []
  try {
    for (let i = 0; i < jobs; i++) {
      const arrival = probe.next()
      const sentAt = performance.now()
      const accepted = await request(`${url}/probe`, { method: 'POST', body: `job ${i}`.padEnd(200, '.'), dispatcher: agent })
      if (accepted.statusCode !== 202) throw new Error(`202 was expected, not ${accepted.statusCode}`)
      const location = String(accepted.headers['location'])
      await accepted.body.dump()
      const { at, outgoing } = await arrival
      toServerMs.push(at - sentAt)
      toEventMs.push(await untilEnd(`${url}${location}/events`, outgoing, agent))
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    }
  } finally {
    await agent.close()
  }
  return { toServerMs, toEventMs }
}

/** Opens the stream, lets the server answer once the first event is there, and says how long the last one took from then. */
async function untilEnd(url: string, outgoing: ServerResponse, agent: Agent): Promise<number> {
  const stream = await request(url, { headers: { accept: 'text/event-stream' }, dispatcher: agent })
  let answeredAt = 0
  let text = ''
  for await (const chunk of stream.body) {
    text += String(chunk)
    if (answeredAt === 0) {
      answeredAt = performance.now()
      outgoing.end('done')
    } else if (/^event: end$/m.test(text)) {
      const took = performance.now() - answeredAt
      // The stream is over with it; whoever does not end it is left.
      stream.body.destroy()
      return took
    }
  }
  throw new Error(`the stream ended without an end: ${text}`)
}

/** What one small append and its sync cost on this disk now: the unit in which a durable step is to be seen. */
export function syncTimes(folder: string, count: number): readonly number[] {
  const file = openSync(path.join(folder, 'syncs'), 'w')
  const block = Buffer.alloc(4096, 'x')
  const times: number[] = []
  try {
    for (let i = 0; i < count; i++) {
      const began = performance.now()
      writeSync(file, block)
      fdatasyncSync(file)
      times.push(performance.now() - began)
    }
  } finally {
    closeSync(file)
  }
  return times
}
