/** Who comes back to which of several servers, with a configuration that is imported and beside nginx and HAProxy. */
import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { ask } from '../support/http-client.ts'
import { until } from '../support/until.ts'
import { besides, HAPROXY, NGINX_HOST, notInstalled, Scene } from './scene.ts'

/** Which server answers whom, as often as it is asked. */
async function serversOf(port: number, headers: Readonly<Record<string, string>>, times: number): Promise<Set<string>> {
  const names = new Set<string>()
  for (let i = 0; i < times; i++) names.add((await ask(`http://127.0.0.1:${port}/`, { headers })).text.slice(0, 1))
  return names
}

suite('who comes back to which of several servers, beside the original', { concurrency: 2 }, () => {
  test('haproxy: a cookie keeps a client at its server, and gives it another one when that is gone', {
    skip: notInstalled('haproxy'),
  }, async () => {
    await using scene = await Scene.start()
    const servers = ['A', 'B', 'C'].map((name) => ` server ${name} \${${name}} check inter 200ms fall 2 rise 1 cookie ${name}\n`).join('')
    const text = `${HAPROXY}frontend www\n bind :\${PORT}\n default_backend app\nbackend app\n balance roundrobin\n option httpchk GET /healthz\n cookie SRV insert indirect nocache\n${servers}`
    const ports = await besides(scene, 'haproxy', { text, isReady: () => ask(`http://127.0.0.1:${scene.port()}/`) })
    const clients: { readonly port: number; readonly cookie: string; readonly server: string }[] = []
    for (const port of ports.map((of) => of('PORT'))) {
      const first = await Promise.all(Array.from({ length: 9 }, () => ask(`http://127.0.0.1:${port}/`)))
      // Without a cookie everybody is given one, and all servers have clients.
      assert.deepEqual([...new Set(first.map(({ text: body }) => body.slice(0, 1)))].toSorted(), ['A', 'B', 'C'])
      for (const { headers, text: body } of first) {
        const cookie = headers['set-cookie']?.[0]?.split(';')[0] ?? ''
        assert.match(cookie, /^SRV=./)
        // Servers see nothing of it.
        assert.match(body, /cookie= /)
        clients.push({ port, cookie, server: body.slice(0, 1) })
      }
    }
    for (const { port, cookie, server } of clients) assert.deepEqual([...(await serversOf(port, { cookie }, 5))], [server])
    await scene.servers[0]?.kill()
    for (const { port, cookie } of clients.filter(({ server }) => server === 'A')) {
      await until('another server answers', async () => {
        const answer = await ask(`http://127.0.0.1:${port}/`, { headers: { cookie } })
        return answer.status === 200 && answer.headers['set-cookie']?.[0]?.startsWith('SRV=') === true
      })
    }
    for (const { port, cookie, server } of clients.filter((client) => client.server !== 'A'))
      assert.deepEqual([...(await serversOf(port, { cookie }, 3))], [server])
  })

  for (const [program, balance] of [
    ['nginx', 'hash $cookie_sid consistent;'],
    ['haproxy', ' balance hash req.cook(sid)\n'],
  ] as const) {
    test(`${program}: a session of the application stays at one server, and all servers have some`, {
      skip: notInstalled(program),
    }, async () => {
      await using scene = await Scene.start()
      const names = ['A', 'B', 'C']
      const text =
        program === 'nginx'
          ? `upstream app { ${balance} ${names.map((name) => `server \${${name}};`).join(' ')} } server { listen \${PORT}; location / { proxy_pass http://app; ${NGINX_HOST} } }`
          : `${HAPROXY}listen www\n bind :\${PORT}\n${balance}${names.map((name) => ` server ${name} \${${name}}\n`).join('')}`
      const ports = await besides(scene, program, { text, isReady: () => ask(`http://127.0.0.1:${scene.port()}/`) })
      for (const port of ports) {
        const found = new Set<string>()
        for (let session = 0; session < 24; session++) {
          const servers = await serversOf(port('PORT'), { cookie: `a=b; sid=session-${session}` }, 3)
          assert.equal(servers.size, 1)
          for (const server of servers) found.add(server)
        }
        assert.deepEqual([...found].toSorted(), names)
      }
    })
  }

  test('nginx: ip_hash keeps an address at one server', { skip: notInstalled('nginx') }, async () => {
    await using scene = await Scene.start()
    const text = `upstream app { ip_hash; server \${A}; server \${B}; server \${C}; } server { listen \${PORT}; location / { proxy_pass http://app; ${NGINX_HOST} } }`
    const ports = await besides(scene, 'nginx', { text, isReady: () => ask(`http://127.0.0.1:${scene.port()}/`) })
    for (const port of ports) assert.equal((await serversOf(port('PORT'), {}, 10)).size, 1)
  })
})
