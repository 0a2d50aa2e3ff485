/** Retries, hedges and copies all at once, at servers that do anything, for clients that leave: nothing is mixed, done twice, or left behind. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ask } from '../support/http-client.ts'
import { type Handle, retryScene, rules } from '../support/retry-scene.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { startTestServer } from '../support/test-server.ts'

const REQUESTS = 1_000
const CLIENTS = 30

/** Each answer of a server says of which server it is, all through. */
function moody(name: string, random: SeededRandom): Handle {
  return (_, response) => {
    const unit = random.unit()
    const body = name.repeat(unit < 0.3 ? 10 : 30_000)
    const answer = (): void => void (response.destroyed || response.end(body))
    if (unit < 0.5) answer()
    else if (unit < 0.7) setTimeout(answer, 40)
    else if (unit < 0.8) response.socket?.resetAndDestroy()
    else if (unit < 0.9) response.writeHead(503, unit < 0.85 ? { 'content-length': String(body.length) } : {}).end(body)
    else if (unit < 0.95) response.writeEarlyHints({ link: '</a>; rel=preload' }, () => setTimeout(answer, 30))
    else response.writeHead(200, { 'content-length': '100000' }).write(body.slice(0, 1000), () => response.socket?.resetAndDestroy())
  }
}

test('whatever servers and clients do, each answer is whole and of one server, no POST is done twice, and nothing is left behind', async (t) => {
  const random = new SeededRandom(5)
  const shadow = await startTestServer(moody('s', random))
  t.after(() => shadow.kill())
  await using all = await retryScene([moody('a', random), moody('b', random), moody('c', random)], {
    shadow: { server: shadow, pool: { maxInFlight: 8 } },
    pool: { maxInFlight: 12 },
    route: {
      retry: rules({ statuses: [503], timeout: true, tries: 4 }),
      hedge: { afterMs: 20 },
      mirror: { pool: 'shadow', share: 0.5, timeoutMs: 1_000 },
      timeoutMs: 2_000,
    },
  })
  let [left, asked, whole] = [REQUESTS, 0, 0]
  const client = async (): Promise<void> => {
    while (left-- > 0) {
      const method = random.unit() < 0.3 ? 'POST' : random.unit() < 0.3 ? 'PUT' : 'GET'
      const leaving = new AbortController()
      if (random.unit() < 0.1) setTimeout(() => leaving.abort(), random.unit() * 60)
      const id = String(asked++)
      try {
        const options = { method, headers: { 'X-Id': id }, signal: leaving.signal, ...(method !== 'GET' && { body: 'x'.repeat(1_000) }) }
        const answer = await ask(all.rig.url, options)
        if (answer.headers['content-type'] === 'application/problem+json') continue
        assert.match(answer.text, /^(a+|b+|c+)$/)
        assert.ok(answer.text.length === 10 || answer.text.length === 30_000, `${answer.text.length} bytes`)
        whole++
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error
      }
    }
  }
  await Promise.all(Array.from({ length: CLIENTS }, client))
  assert.ok(whole > REQUESTS / 2, `${whole} whole answers`)
  const posts = all.servers.flatMap(({ received }) =>
    received.filter(({ method }) => method === 'POST').map(({ headers }) => headers['x-id']),
  )
  assert.equal(new Set(posts).size, posts.length, 'a POST was done twice')
  assert.ok(all.servers.every(({ received }) => received.every(({ body, method }) => body.length === (method === 'GET' ? 0 : 1_000))))
  await all.untilIdle()
})
