/** Three servers under a steady load of GETs, one of them killed in the middle and brought back: no client notices. */
import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import { after, test } from 'node:test'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { type ServerProcess, startServerProcess } from '../support/server-process.ts'
import { until } from '../support/until.ts'

const CLIENTS = 24
const servers: ServerProcess[] = []
after(() => Promise.all(servers.map((server) => server.kill())))

interface Seen {
  /** Answers by the pid of the server that gave them. */
  readonly byPid: Map<number, number>
  /** What a client saw go wrong before its response had begun, and every status that is not the server's. */
  readonly wrong: string[]
  /** Responses that broke off after they had begun: nothing can be done about these. */
  broken: number
}

function get(url: string, agent: Agent, seen: Seen): Promise<void> {
  return new Promise((resolve) => {
    let begun = false
    const asked = request(url, { agent }, (response) => {
      begun = true
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('error', () => seen.broken++)
      response.on('close', resolve)
      response.on('end', () => {
        if (response.statusCode !== 200) seen.wrong.push(`${response.statusCode} ${text}`)
        else seen.byPid.set(Number(text), (seen.byPid.get(Number(text)) ?? 0) + 1)
      })
    })
    asked.on('error', (error) => {
      // A response that breaks tells it by itself.
      if (!begun) seen.wrong.push(error.message)
      resolve()
    })
    asked.end()
  })
}

test('one of three servers is killed under load and comes back: no client whose response had not begun sees an error', async () => {
  servers.push(...(await Promise.all([startServerProcess(), startServerProcess(), startServerProcess()])))
  const [first, second] = servers as [ServerProcess, ServerProcess]
  await using gateway = await startGatewayProcess(`
pools:
  api:
    servers: [${servers.map(({ port }) => `{ url: http://127.0.0.1:${port} }`).join(', ')}]
    health: { interval: 200ms, timeout: 1s, rise: 1 }
    slowStart: 0s
routes: [{ match: "/*" }]
`)
  const seen: Seen = { byPid: new Map(), wrong: [], broken: 0 }
  const answered = (pid: number): number => seen.byPid.get(pid) ?? 0
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS })
  let stopped = false
  const client = async (path: string): Promise<void> => {
    while (!stopped) await get(gateway.url + path, agent, seen)
  }
  const clients = Array.from({ length: CLIENTS }, (_, i) => client(i % 2 === 0 ? '/' : '/slowly'))
  try {
    await until('all three answer', () => servers.every(({ pid }) => answered(pid) >= 100))

    await second.kill()
    const before = answered(first.pid)
    await until('the others carry on', () => answered(first.pid) >= before + 200)
    const page = await gateway.metrics()
    assert.equal(page.sum('spillway_server_up', `server="127.0.0.1:${second.port}"`), 0)

    const back = await startServerProcess(second.port)
    servers[1] = back
    await until('it gets requests again', () => answered(back.pid) >= 100)
  } finally {
    stopped = true
    await Promise.all(clients)
    agent.destroy()
  }
  assert.deepEqual(seen.wrong, [])
  const idle = async (): Promise<boolean> => (await gateway.metrics()).sum('spillway_server_in_flight') === 0
  await until('every slot was given back', idle)
})
