import { type Case, cases, declined, refused, request } from './case.ts'

function to(target: string, host = 'a'): string {
  return `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
}

function hosts(...lines: readonly string[]): string {
  return `GET / HTTP/1.1\r\n${[...lines, 'X: y'].join('\r\n')}\r\n\r\n`
}

const INVALID_HOSTS: readonly (readonly [string, readonly string[]])[] = [
  ['no Host', []],
  ['two Hosts', ['Host: a', 'Host: b']],
  ['two Hosts that are equal', ['Host: a', 'host: a']],
  ['a list of hosts', ['Host: a, b']],
  ['an empty Host', ['Host:']],
  ['a user in Host', ['Host: user@a']],
  ['a path in Host', ['Host: a/b']],
  ['a blank in Host', ['Host: a b']],
  ['a port that is no number', ['Host: a:http']],
  ['a bracket that is not closed in Host', ['Host: [::1']],
]

/** Forwarded as they came, to the letter. */
const TARGETS: readonly (readonly [string, string])[] = [
  ['empty segments', '//a///b/'],
  ['encoded slashes', '/a%2Fb%2f'],
  ['encodings in upper and lower case, of letters, too', '/%7euser/%41%c3%A4'],
  ['an encoding that is none', '/%zz/%'],
  ['a path of sub-delims', "/a;b=c,d!$&'()*+@:~-._"],
  ['an empty query', '/a?'],
  ['a query with question marks and slashes', '/a?b=/c?d=e&&f=%20+g'],
  ['a very long query', `/a?${'q=1&'.repeat(1000)}`],
]

export const TARGETS_AND_HOST: readonly Case[] = [
  ...cases(
    'RFC 9112 §3.2',
    'MUST',
    INVALID_HOSTS.map(([what, lines]) => ({
      title: `${what} in an HTTP/1.1 request is refused with 400`,
      pitfall: 'host' as const,
      client: hosts(...lines),
      ...refused(400),
    })),
  ),
  ...cases('RFC 9112 §3.2', 'MUST', [
    {
      title: 'two Hosts in an HTTP/1.0 request are refused with 400',
      pitfall: 'host',
      client: 'GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n',
      ...refused(400),
    },
    {
      title: 'no Host beside an absolute target is refused with 400, too',
      pitfall: 'host',
      client: 'GET http://a/ HTTP/1.1\r\n\r\n',
      ...refused(400),
    },
    {
      title: 'Host goes to the server as it came: spelling, port, IPv6',
      pitfall: 'host',
      client: hosts('HOST: [2001:DB8::1]:8080'),
      got: { fields: { host: '[2001:DB8::1]:8080' } },
      answer: { status: 200 },
    },
  ]),
  ...cases(
    'RFC 9110 §7.7',
    'MUST',
    TARGETS.map(([what, target]) => ({
      title: `path and query go on as they came: ${what}`,
      pitfall: 'target' as const,
      client: to(target),
      got: { line: `GET ${target} HTTP/1.1` },
      answer: { status: 200 },
    })),
  ),
  ...cases('RFC 9110 §7.7', 'choice', [
    {
      title: 'characters that no URI has, but clients send, pass as they came',
      why: 'a target is refused where two readers would find another end of it, not for what a server can judge by itself',
      client: to('/{x}|"<>^`?q={y}|"'),
      got: { line: 'GET /{x}|"<>^`?q={y}|" HTTP/1.1' },
      answer: { status: 200 },
    },
    {
      title: 'dot segments are refused, not resolved',
      why: 'resolving would change the path, forwarding would let a server see another path than the routes did',
      pitfall: 'target',
      client: to('/a/../b'),
      ...declined(400),
    },
    { title: 'encoded dot segments are refused', why: 'as above', pitfall: 'target', client: to('/a/%2E%2e/b'), ...declined(400) },
    { title: 'dot segments of an absolute target are refused', why: 'as above', client: to('http://a/x/../y'), ...declined(400) },
    { title: 'a backslash in the path is refused', why: 'some servers read it as a slash', client: to('/a\\b'), ...declined(400) },
  ]),
  ...cases('RFC 9112 §3.2.2', 'MUST', [
    {
      title: 'an absolute target is accepted, and its authority replaces Host',
      pitfall: 'host',
      client: to('http://B.example:81/x?y=1', 'a'),
      got: { line: 'GET /x?y=1 HTTP/1.1', fields: { host: 'B.example:81', 'x-forwarded-host': 'b.example:81' } },
      answer: { status: 200 },
    },
    {
      title: 'an absolute target outranks Host also in HTTP/1.0, where none need be',
      client: 'GET http://b/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
      got: { line: 'GET /x HTTP/1.1', fields: { host: 'b' } },
      answer: { status: 200 },
    },
    {
      title: 'the scheme of an absolute target is case-insensitive',
      client: to('HTTP://b/x'),
      got: { line: 'GET /x HTTP/1.1', fields: { host: 'b' } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9112 §3.2.1', 'MUST', [
    {
      title: 'an absolute target without a path becomes /',
      client: to('http://b'),
      got: { line: 'GET / HTTP/1.1' },
      answer: { status: 200 },
    },
    {
      title: 'an absolute target with a query only becomes /?…',
      client: to('http://b?x=1'),
      got: { line: 'GET /?x=1 HTTP/1.1' },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §4.2.1', 'MUST', [{ title: 'an http URL without a host is refused', client: to('http:///x'), ...refused(400) }]),
  ...cases('RFC 9110 §4.2.4', 'SHOULD', [
    { title: 'an http URL with a user is refused', client: to('http://user:secret@a/'), ...refused(400) },
  ]),
  ...cases('RFC 9110 §7.4', 'MUST', [
    {
      title: 'an https URL over a connection without TLS is refused with 421',
      pitfall: 'statuses',
      client: to('https://a/x'),
      ...declined(421),
    },
    {
      title: 'a trusted peer may have ended the TLS: its https URLs are served',
      gateway: 'trusting',
      client: to('https://b/x'),
      got: { line: 'GET /x HTTP/1.1', fields: { host: 'b' } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9112 §3.2.3', 'MUST', [{ title: 'an authority as the target is for CONNECT only', client: to('a:80'), ...refused(400) }]),
  ...cases('RFC 9112 §3.2.4', 'MUST', [
    { title: '* is for OPTIONS only', client: to('*'), ...refused(400) },
    {
      title: 'OPTIONS of an absolute target with the path / stays /',
      client: request('OPTIONS http://b/'),
      got: { line: 'OPTIONS / HTTP/1.1' },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9112 §3.2', 'choice', [
    { title: 'another scheme than http is refused', why: 'there is no server for it', client: to('ftp://a/'), ...refused(400) },
    { title: 'a target that is neither path nor URL is refused', why: 'it names nothing', client: to('index.html'), ...refused(400) },
  ]),
]
