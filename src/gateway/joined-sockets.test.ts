/** How the two sockets of a tunnel are ended where the protocol has a word for it. Without one: `test/integration/tunnels.test.ts`. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { test, type TestContext } from 'node:test'
import { until } from '../../test/support/until.ts'
import { FrameTracker } from '../http1/websocket-frames.ts'
import { Sweeper } from '../net/sweeper.ts'
import { systemClock } from '../ports/system.ts'
import { JoinedSockets } from './joined-sockets.ts'

/** Both ends of a connection. */
async function pair(t: TestContext): Promise<readonly [Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const one = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
  const [other] = (await once(server, 'connection')) as [Socket]
  server.close()
  for (const socket of [one, other]) {
    socket.on('error', () => undefined)
    t.after(() => socket.destroy())
  }
  return [one, other]
}

interface Scene {
  readonly joined: JoinedSockets
  readonly client: Socket
  readonly server: Socket
  readonly heard: () => string
  readonly closed: () => boolean
}

const NOTHING = Buffer.alloc(0)

async function scene(t: TestContext): Promise<Scene> {
  const [[client, down], [up, server]] = await Promise.all([pair(t), pair(t)])
  const sweeper = new Sweeper(systemClock)
  t.after(() => sweeper.close())
  let [heard, closed] = ['', false]
  server.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1')
  })
  const joined = new JoinedSockets(
    { socket: down, rest: NOTHING },
    { socket: up, rest: NOTHING },
    {
      sweeper,
      idleMs: 60_000,
      onClosed: () => {
        closed = true
      },
      goodbye: { frames: new FrameTracker(), words: () => Buffer.from('goodbye') },
    },
  )
  return { joined, client, server, heard: () => heard, closed: () => closed }
}

/** A frame of ten bytes of text. */
const FRAME = '\x81\x8a\0\0\0\0helloworld'

test('between two frames the goodbye is said at once, and nothing that the client says behind it is passed on', async (t) => {
  const { joined, client, server, heard, closed } = await scene(t)
  client.write(FRAME, 'latin1')
  await until('it is heard', () => heard() === FRAME)
  joined.end()
  client.write(FRAME, 'latin1')
  await until('it is heard', () => heard() === `${FRAME}goodbye`)
  client.resume()
  server.end('bye')
  await once(client, 'end')
  client.end()
  await until('it is over', closed)
  assert.equal(heard(), `${FRAME}goodbye`)
  assert.deepEqual([joined.bytesIn, joined.bytesOut], [2 * FRAME.length, 3])
})

test('a frame that is on its way is passed on as a whole before the goodbye', async (t) => {
  const { joined, client, heard } = await scene(t)
  client.write(FRAME + FRAME.slice(0, 4), 'latin1')
  await until('it is heard', () => heard() === FRAME + FRAME.slice(0, 4))
  joined.end()
  client.write(FRAME.slice(4, 9), 'latin1')
  await until('it is heard', () => heard() === FRAME + FRAME.slice(0, 9))
  client.write(FRAME.slice(9) + FRAME, 'latin1')
  await until('the goodbye is heard', () => heard().endsWith('goodbye'))
  assert.equal(heard(), `${FRAME}${FRAME}goodbye`)
})
