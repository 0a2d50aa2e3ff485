import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import {
  CALLBACK_LENGTH_MAX,
  expandUrl,
  matchesUrl,
  parseUrlPattern,
  readHttpUrl,
  type UrlPattern,
  wrongCallback,
  wrongEndpointUrl,
} from './urls.ts'

const pattern = (text: string): UrlPattern => {
  const parsed = parseUrlPattern(text)
  assert.equal(typeof parsed, 'object', text)
  return parsed as UrlPattern
}
const wrongPattern = (text: string): string => {
  const wrong = parseUrlPattern(text)
  return typeof wrong === 'string' ? wrong : ''
}
const matches = (text: string, url: string): boolean => matchesUrl(pattern(text), new URL(url))

test('a pattern matches URLs as they are parsed, not as they are written', () => {
  const open = 'https://*.example.com/hooks/*'
  for (const url of [
    'https://a.example.com/hooks/',
    'https://a.b.example.com/hooks/x/y?z=1',
    'HTTPS://A.EXAMPLE.com:443/hooks/1',
    'https://a.example.com./hooks/1',
    'https://a.example.com/x/../hooks/1',
  ])
    assert.ok(matches(open, url), url)
  for (const url of [
    'https://example.com/hooks/1',
    'https://.example.com/hooks/1',
    'https://evilexample.com/hooks/1',
    'https://a.example.com.evil.org/hooks/1',
    'https://evil.org/a.example.com/hooks/1',
    'https://a.example.com@evil.org/hooks/1',
    'http://a.example.com/hooks/1',
    'https://a.example.com:8443/hooks/1',
    'https://a.example.com/hooks',
    'https://a.example.com/hooks/../admin',
    'https://a.example.com/hooks/%2e%2e/admin',
    'https://a.example.com/',
  ])
    assert.ok(!matches(open, url), url)
})

test('without a star there is one URL, without a query; a port counts', () => {
  assert.ok(matches('http://127.0.0.1:9000/in', 'http://127.0.0.1:9000/in'))
  assert.ok(!matches('http://127.0.0.1:9000/in', 'http://127.0.0.1:9000/in?x=1'))
  assert.ok(!matches('http://127.0.0.1:9000/in', 'http://127.0.0.1/in'))
  assert.ok(matches('https://[::1]:9000/*', 'https://[0:0:0:0:0:0:0:1]:9000/x'))
  assert.ok(matches('https://*/*', 'https://anything.example/x?y'))
  assert.ok(matches('https://example.com:443/*', 'https://example.com/'))
})

test('a text that is no pattern says why', () => {
  for (const text of [
    '',
    '*',
    'example.com/*',
    'ftp://example.com/*',
    'https://a*.example.com/*',
    'https://u@example.com/*',
    'https://x/a?b',
    'https://x/{id}',
  ])
    assert.match(wrongPattern(text), /is no URL pattern/, text)
  assert.match(wrongPattern('https://example.com'), /has no path/)
  assert.match(wrongPattern('https://example.com/*/x'), /only at the end/)
})

test('a host or a port that cannot be is no pattern', () => {
  for (const text of ['https://1.2.3.400/*', 'https://x:70000/*', 'https://[1::2::3]/*'])
    assert.match(wrongPattern(text), /has a host or a port that cannot be/, text)
})

test('whatever is written, it is a pattern that matches itself, or something is wrong with it', () => {
  const nearly = fc.stringMatching(/^https?:\/\/(\*\.?)?[a-z0-9.:_[\]@-]{0,12}\/[a-z*%./?#-]{0,8}$/)
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.webUrl(), nearly), (text) => {
      assert.ok(['string', 'undefined'].includes(typeof wrongEndpointUrl(text)))
      const read = readHttpUrl(text)
      const parsed = parseUrlPattern(text)
      if (typeof read === 'string' || typeof parsed === 'string' || text.includes('*')) return
      assert.ok(matchesUrl(parsed, read), text)
    }),
    { numRuns: 3000 },
  )
})

test('a callback is http or https, short enough, without credentials and fragments', () => {
  const any = [pattern('https://*/*'), pattern('http://*/*')]
  const path = (length: number): string => `https://example.com/${'x'.repeat(length - 'https://example.com/'.length)}`
  assert.equal(wrongCallback(path(CALLBACK_LENGTH_MAX), any), undefined)
  assert.match(wrongCallback(path(CALLBACK_LENGTH_MAX + 1), any) as string, /2048/)
  for (const text of [
    'https://u:p@x/',
    'https://u@x/',
    'https://x/#f',
    'https://x/#',
    'ftp://x/',
    '//x/',
    'https://x/ y',
    'https:\\\\x/',
    'https://x\\@y/',
    'javascript:1',
    'https://',
  ])
    assert.notEqual(wrongCallback(text, any), undefined, text)
  assert.match(wrongCallback('https://x/', []) as string, /matches none/)
})

test('odd spellings of addresses are known by what they mean', () => {
  for (const host of ['127.1', '0x7f.0.0.1', '2130706433', '0177.0.0.1']) {
    assert.equal((readHttpUrl(`http://${host}/`) as URL).hostname, '127.0.0.1', host)
  }
})

test('parameters are filled in encoded, and never lead out of the path', () => {
  const url = 'https://x/{queue}/{reference}?s={status}'
  assert.equal(expandUrl(url, { queue: 'q', reference: 'a/b?c', status: 'failed' }), 'https://x/q/a%2Fb%3Fc?s=failed')
  assert.equal(expandUrl(url, { queue: '..', reference: '', status: 7 }), 'https://x/__/-?s=-')
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (reference) => {
      const expanded = new URL(expandUrl('https://x/in/{reference}/end', { reference }))
      assert.equal(expanded.host, 'x')
      assert.match(expanded.pathname, /^\/in\/[^/]+\/end$/)
      assert.equal(expanded.search + expanded.hash, '')
    }),
  )
})

test('parameters of an endpoint stand in its path or query, and are known', () => {
  assert.equal(wrongEndpointUrl('https://x/{queue}?r={reference}'), undefined)
  assert.match(wrongEndpointUrl('https://{queue}.x/') as string, /only in its path/)
  assert.match(wrongEndpointUrl('https://x/{token}') as string, /no parameter \{token\}/)
  assert.match(wrongEndpointUrl('https:///{queue}/x') as string, /no http or https URL/)
  assert.match(wrongEndpointUrl('https://u:p@x/') as string, /password/)
})
