/**
 * A quorum queue of one RabbitMQ node: a confirm means that its log is synced. Consumers acknowledge many deliveries with one frame. RabbitMQ
 * does not tell a consumer when an acknowledgement is durable: a job counts as settled when the frame is written, which favours this arm.
 */
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { type Cores, findProgram, freePort, startPinned, untilListening } from '../machine.ts'
import type { BrokerArm, BrokerClient, Consumer, ConsumerEvents, RunningBroker } from './broker.ts'
import { firstFile, importClient } from './broker.ts'
import { bodyBytes, jobOf } from './job-body.ts'

const QUEUE = 'jobs'
const PREFETCH = 1000

interface Delivery {
  readonly content: Buffer
}

interface Channel {
  assertQueue(name: string, options: object): Promise<unknown>
  checkQueue(name: string): Promise<{ readonly messageCount: number }>
  purgeQueue(name: string): Promise<unknown>
  prefetch(count: number): Promise<unknown>
  publish(exchange: string, key: string, body: Buffer, options: object, confirmed: (error: Error | null) => void): boolean
  consume(queue: string, listener: (delivery: Delivery | null) => void): Promise<{ readonly consumerTag: string }>
  cancel(consumerTag: string): Promise<unknown>
  ack(delivery: Delivery, allUpTo: boolean): void
  close(): Promise<void>
}

interface Connection {
  createConfirmChannel(): Promise<Channel>
  createChannel(): Promise<Channel>
  close(): Promise<void>
}

/** What is used of amqplib. */
interface Amqp {
  connect(url: string, socketOptions: object): Promise<Connection>
}

/** Debian's own wrapper in /usr/sbin would change the user and the folder. */
function serverProgram(): string | undefined {
  return firstFile('/usr/lib/rabbitmq/bin/rabbitmq-server', findProgram('rabbitmq-server'))
}

/** A node of its own: name, ports, folders, cookie and port mapper, all on loopback. */
async function start(cores: Cores, folder: string): Promise<RunningBroker> {
  const [port, distPort, epmdPort] = [await freePort(), await freePort(), await freePort()]
  const file = (name: string): string => path.join(folder, name)
  mkdirSync(file('log'))
  writeFileSync(file('enabled_plugins'), '[].\n')
  writeFileSync(file('rabbitmq.conf'), '')
  const epmdEnv = { ERL_EPMD_PORT: String(epmdPort), ERL_EPMD_ADDRESS: '127.0.0.1' }
  const epmd = startPinned(cores, findProgram('epmd') as string, [], { env: epmdEnv })
  await untilListening(epmdPort, epmd)
  const env = {
    ...epmdEnv,
    HOME: folder,
    RABBITMQ_NODENAME: `bench-${port}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_MNESIA_BASE: file('mnesia'),
    RABBITMQ_LOG_BASE: file('log'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_CONFIG_FILE: file('rabbitmq.conf'),
    RABBITMQ_ENABLED_PLUGINS_FILE: file('enabled_plugins'),
    // Its start script becomes the node, instead of waiting beside it.
    RUNNING_UNDER_SYSTEMD: 'true',
  }
  const started = startPinned(cores, serverProgram() as string, [], { env })
  const stop = async (): Promise<void> => {
    await started.stop()
    await epmd.stop()
  }
  await untilListening(port, started)
  return { started, address: `amqp://guest:guest@127.0.0.1:${port}?heartbeat=0`, stop }
}

/** Acknowledges once for all that arrived in one turn of the event loop. */
async function startConsumer(connection: Connection, events: ConsumerEvents): Promise<Consumer> {
  const channel = await connection.createChannel()
  await channel.prefetch(PREFETCH)
  let unsettled = 0
  let last: Delivery | undefined
  const settle = (): void => {
    if (last !== undefined) channel.ack(last, true)
    events.settled(unsettled)
    unsettled = 0
    last = undefined
  }
  const { consumerTag } = await channel.consume(QUEUE, (delivery) => {
    if (delivery === null) return events.failed(new Error('RabbitMQ cancelled the consumer'))
    events.started([jobOf(delivery.content)])
    if (last === undefined) setImmediate(settle)
    last = delivery
    unsettled += 1
  })
  return {
    stop: async () => {
      await channel.cancel(consumerTag)
      settle()
      // The channel answers this after it has seen the acknowledgements; whatever were not acknowledged would be back in the queue.
      await channel.close()
    },
  }
}

async function connect(address: string): Promise<BrokerClient> {
  const amqp = await importClient<Amqp>('amqplib')
  const connection = await amqp.connect(address, { noDelay: true })
  const channel = await connection.createConfirmChannel()
  await channel.assertQueue(QUEUE, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
  return {
    batch: 100,
    publish: (jobs) =>
      new Promise((resolve, reject) => {
        let missing = jobs.length
        const confirmed = (error: Error | null): void => {
          if (error !== null) reject(error)
          else if (--missing === 0) resolve()
        }
        for (const job of jobs) channel.publish('', QUEUE, bodyBytes(job), { persistent: true }, confirmed)
      }),
    consume: (events) => startConsumer(connection, events),
    depth: async () => (await channel.checkQueue(QUEUE)).messageCount,
    purge: async () => void (await channel.purgeQueue(QUEUE)),
    close: () => connection.close(),
  }
}

function missing(): string | undefined {
  return serverProgram() === undefined ? 'rabbitmq-server is not installed (Debian package rabbitmq-server)' : undefined
}

function version(): string | undefined {
  const found = /rabbitmq_server-([\d.]+)/.exec(realpathSync(serverProgram() ?? '/'))
  return found ? `RabbitMQ ${found[1]}` : undefined
}

export const rabbitmq: BrokerArm = { clientPackage: 'amqplib', missing, start, connect, version }
