/** A listener that only sends to https. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { loadValue } from '../../src/config/load.ts'
import type { ConfigFile } from '../../src/config/schema.ts'
import { startConfigRig } from '../support/config-rig.ts'

type Redirect = Exclude<NonNullable<ConfigFile['listeners']>[number], string>['redirect']

async function answers(redirect: Redirect, request: string): Promise<string> {
  const listeners = [{ address: '127.0.0.1:0', redirect }]
  await using rig = await startConfigRig({ listeners, pools: { api: ['http://127.0.0.1:1'] }, routes: [{ match: '/*' }] })
  const socket = connect(rig.gateway.listeners[0]?.port as number, '127.0.0.1')
  socket.write(request)
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  return chunk.toString()
}

const request = (line: string, ...more: readonly string[]): string =>
  `${line} HTTP/1.1\r\n${['Host: example.com:8080', ...more].join('\r\n')}\r\n\r\n`

test('every request is sent to the same host and target with https, as it came', async () => {
  const answer = await answers('https', request('GET /a/%2F/b?c=%20d'))
  assert.match(answer, /^HTTP\/1\.1 308 Permanent Redirect\r\n/)
  assert.match(answer, /\r\nLocation: https:\/\/example\.com\/a\/%2F\/b\?c=%20d\r\n/)
  assert.match(await answers('https', request('GET http://other.example/x')), /\r\nLocation: https:\/\/other\.example\/x\r\n/)
})

test('port and status are as is said; jobs and methods make no difference', async () => {
  const answer = await answers({ port: 8443, status: 301 }, request('POST /_spillway/jobs/x', 'Content-Length: 3') + 'abc')
  assert.match(answer, /^HTTP\/1\.1 301 /)
  assert.match(answer, /\r\nLocation: https:\/\/example\.com:8443\/_spillway\/jobs\/x\r\n/)
})

test('who names no host cannot be sent anywhere', async () => {
  assert.match(await answers('https', 'GET / HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 400 /)
})

test('with tls it would lead to itself, and is refused', () => {
  const listeners = [{ address: '127.0.0.1:1', redirect: 'https', tls: { certificates: [{ cert: 'x', key: 'x' }] } }]
  const read = loadValue({ listeners, pools: { a: ['http://127.0.0.1:1'] }, routes: [{ match: '/*' }] }, { file: 'x', folder: '/' })
  assert.match(read.ok ? '' : read.errors.join('\n'), /listeners\[0\]\.redirect {2}what comes here has come over https already/)
})
