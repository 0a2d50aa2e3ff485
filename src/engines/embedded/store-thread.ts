/** The store thread: takes a batch, makes it durable, answers, then tidies up. It does nothing else, so nothing waits behind anything else. */
import { parentPort, workerData } from 'node:worker_threads'
import { decodeBatch, encodeReply, type Batch, type Notice } from './wire.ts'
import { StoreFatalError } from './disk-trouble.ts'
import { EmbeddedEngine, type EngineOptions } from './engine.ts'
import { StoreOpenError } from './store-open-error.ts'
import type { FromThread, ThreadData, ToThread } from './thread-messages.ts'

const port = parentPort
if (port === null) throw new Error('this module is the entry of a worker thread')

let notices: Notice[] = []
/** Nothing more is asked of the file. */
let dead = false
const events = {
  onSync: (took: number, operations: number) => void notices.push({ kind: 'sync', took, operations }),
  onCorrupt: (what: string) => void notices.push({ kind: 'corrupt', what }),
}

function send(message: FromThread, transfer: readonly ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer)
}

function takeNotices(): readonly Notice[] {
  const taken = notices
  notices = []
  return taken
}

function open(options: EngineOptions, moment: ThreadData['moment']): EmbeddedEngine | undefined {
  try {
    const engine = new EmbeddedEngine(options, events, { ...moment, secret: () => '' })
    send({ kind: 'open', notices: takeNotices() })
    return engine
  } catch (error) {
    const reason = error instanceof StoreOpenError ? error.reason : String(error)
    send({ kind: 'open-failed', reason })
    return undefined
  }
}

function run(engine: EmbeddedEngine, batch: Batch): void {
  const { calls, context } = decodeBatch(batch)
  try {
    const results = engine.run(calls, context)
    const reply = encodeReply(results, calls, takeNotices())
    send({ kind: 'reply', reply }, [reply.bytes])
    engine.checkpoint()
  } catch (error) {
    if (!(error instanceof StoreFatalError)) throw error
    dead = true
    send({ kind: 'fatal', message: error.message })
  }
}

function hold(engine: EmbeddedEngine): void {
  try {
    send({ kind: 'held', files: engine.hold() })
  } catch (error) {
    engine.release()
    send({ kind: 'not-held', reason: String(error) })
  }
}

const data = workerData as ThreadData
const engine = open(data.options, data.moment)
port.on('message', (message: ToThread) => {
  if (message.kind === 'close') {
    if (!dead) engine?.close()
    return port.close()
  }
  if (engine === undefined || dead) return
  if (message.kind === 'batch') run(engine, message.batch)
  else if (message.kind === 'hold') hold(engine)
  else if (message.what === 'log') engine.releaseLog()
  else engine.release()
})
if (engine === undefined) port.close()
