/** Text that passes as it came says the same as the fields taken one by one. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { forwardRequestHeaders, forwardResponseHeaders } from '../core/headers/forward.ts'
import type { RequestHead, ResponseHead } from '../http1/message.ts'
import { parseRequestHead } from '../http1/parse-request.ts'
import { parseResponseHead } from '../http1/parse-response.ts'
import { fieldLines } from '../http1/write.ts'
import { requestFields } from './request-fields.ts'

const NAMES = [
  'Accept',
  'Connection',
  'Keep-Alive',
  'TE',
  'Cookie',
  'X-A',
  'X_Forwarded_For',
  'x-forwarded-for',
  'Forwarded',
  'Via',
  'Upgrade',
]
const OURS = [
  'Spillway-Key',
  'spillway_key',
  'X-Real-IP',
  'Proxy-Connection',
  'Date',
  'Expect',
  'Content-Length',
  'Transfer-Encoding',
  'Server',
]
/** Around the value; most as everyone writes it. */
const BLANKS = [' _', ' _', ' _', ' _', ' _', ' _', '_', '\t_', '  _', ' _ ', ' _\t']
const value = fc.constantFrom('', '1', 'close', 'keep-alive', 'X-A', 'close, cookie', '100-continue', 'chunked', 'a b')
const fields = fc.array(fc.tuple(fc.constantFrom(...NAMES, ...OURS), value, fc.constantFrom(...BLANKS)), { maxLength: 8 })
const options = { name: 'spillway', proto: 'http' } as const

function lines(list: readonly (readonly [string, string, string])[]): string {
  return list.map(([name, text, blank]) => `${name}:${blank.replace('_', text)}\r\n`).join('')
}

test('a request as text and field by field reach the server alike', () => {
  let verbatim = 0
  fc.assert(
    fc.property(fields, fc.boolean(), (list, trusted) => {
      const head = parseRequestHead(`GET / HTTP/1.1\r\nHost: h\r\n${lines(list)}\r\n`, {
        headersMax: 100,
        targetBytesMax: 100,
      }) as RequestHead
      if ('code' in head) return
      const peer = { address: '127.0.0.1', trusted }
      if (head.verbatim !== undefined) verbatim++
      assert.equal(requestFields(head, peer, options), fieldLines(forwardRequestHeaders(head, peer, options)))
    }),
    { numRuns: 3000 },
  )
  assert.ok(verbatim > 100, 'the short way was taken often enough to say something')
})

test('an answer as text and field by field reach the client alike', () => {
  fc.assert(
    fc.property(fields, (list) => {
      const head = parseResponseHead(`HTTP/1.1 200 OK\r\n${lines(list)}\r\n`, 'GET', 100) as ResponseHead
      if (typeof head === 'string' || head.verbatim === undefined) return
      assert.equal(head.verbatim, fieldLines(forwardResponseHeaders(head.headers, head.connection)))
    }),
    { numRuns: 3000 },
  )
})
