/**
 * What a team writes today for "now or later": an Express app that puts requests into BullMQ and answers 202, a worker that sends them to the
 * HTTP server, and an event stream that tells of the end. Everything in one process, and the events straight from the worker: the shortest glue there is.
 *
 *   node bench/glue/app.ts <port> <redis url> <server url> <url of the server behind /probe>
 */
import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import process from 'node:process'
import express, { type Request, type Response } from 'express'
import { Agent, request } from 'undici'
import { importClient } from '../brokers/broker.ts'

const [port = '', redisUrl = '', serverUrl = '', probeUrl = ''] = process.argv.slice(2)

interface Job {
  readonly id?: string
  readonly data: { readonly method: string; readonly path: string; readonly type: string; readonly body: string }
  readonly returnvalue?: unknown
  getState(): Promise<string>
}

/** What is used of bullmq. */
interface Bull {
  readonly Queue: new (
    name: string,
    options: object,
  ) => {
    add(name: string, data: Job['data'], options: object): Promise<unknown>
    getJob(id: string): Promise<Job | undefined>
    getJobCounts(...kinds: string[]): Promise<Readonly<Record<string, number>>>
    waitUntilReady(): Promise<unknown>
  }
  readonly Worker: new (
    name: string,
    work: (job: Job) => Promise<unknown>,
    options: object,
  ) => {
    on(event: 'completed', listener: (job: Job, result: unknown) => void): void
    on(event: 'error', listener: (error: Error) => void): void
    waitUntilReady(): Promise<unknown>
  }
}

const { Queue, Worker } = await importClient<Bull>('bullmq')
const address = new URL(redisUrl)
const connection = { host: address.hostname, port: Number(address.port), maxRetriesPerRequest: null }
const agent = new Agent({ connections: 64, pipelining: 1 })
const ended = new EventEmitter().setMaxListeners(0)

/** As long as the gateway keeps them. */
const KEPT = {
  removeOnComplete: { age: 86_400 },
  removeOnFail: { age: 14 * 86_400 },
  attempts: 20,
  backoff: { type: 'exponential', delay: 1000 },
}

const work = new Queue('work', { connection })
const parked = new Queue('parked', { connection })

async function callServer({ data }: Job): Promise<unknown> {
  const { method, path, type, body } = data
  const answer = await request((path === '/probe' ? probeUrl : serverUrl) + path, {
    method: method as 'POST',
    headers: { 'content-type': type },
    body: Buffer.from(body, 'base64'),
    dispatcher: agent,
  })
  const text = await answer.body.text()
  if (answer.statusCode >= 400) throw new Error(`the server answered ${answer.statusCode}`)
  return { status: answer.statusCode, body: text }
}

const worker = new Worker('work', callServer, { connection, concurrency: 64 })
worker.on('completed', (job) => ended.emit(job.id ?? ''))
worker.on('error', (error) => process.stderr.write(`${String(error)}\n`))

async function accept(queue: typeof work, incoming: Request, outgoing: Response): Promise<void> {
  const id = randomUUID()
  const body = (incoming.body as Buffer | undefined)?.toString('base64') ?? ''
  const type = incoming.get('content-type') ?? ''
  await queue.add('job', { method: incoming.method, path: incoming.originalUrl, type, body }, { ...KEPT, jobId: id })
  outgoing.status(202).location(`/jobs/${id}`).json({ id, status: 'queued' })
}

async function events(incoming: Request, outgoing: Response): Promise<void> {
  const id = String(incoming.params['id'])
  const end = (): void => void outgoing.end('event: end\ndata: {"status":"succeeded"}\n\n')
  ended.once(id, end)
  outgoing.on('close', () => ended.off(id, end))
  outgoing.type('text/event-stream').write('event: status\ndata: {}\n\n')
  const state = await (await work.getJob(id))?.getState()
  if (state === 'completed' && !outgoing.writableEnded) end()
}

const app = express()
app.disable('x-powered-by')
app.disable('etag')
app.use(express.raw({ type: () => true, limit: '1mb' }))
app.post('/work', (incoming, outgoing) => accept(work, incoming, outgoing))
app.post('/probe', (incoming, outgoing) => accept(work, incoming, outgoing))
app.post('/parked', (incoming, outgoing) => accept(parked, incoming, outgoing))
app.get('/jobs/:id/events', events)
app.get('/counts', async (_, outgoing) => {
  const counts = await work.getJobCounts('completed', 'failed', 'waiting', 'active', 'delayed')
  outgoing.json({ ...counts, parked: (await parked.getJobCounts('waiting'))['waiting'] })
})
await Promise.all([work.waitUntilReady(), parked.waitUntilReady(), worker.waitUntilReady()])
app.listen(Number(port), '127.0.0.1')
