import { type Case, cases, declined, get, okWith } from './case.ts'

function via(hops: number): string {
  return `Via: ${Array.from({ length: hops }, () => '1.1 spillway').join(', ')}`
}

const SPOOFED = [
  'Forwarded: for=9.9.9.9',
  'X-Forwarded-For: 9.9.9.9',
  'X-Forwarded-Host: 9.9.9.9',
  'X-Forwarded-Proto: 9.9.9.9',
  'X-Forwarded-Port: 9.9.9.9',
  'X-Real-IP: 9.9.9.9',
  'X_Forwarded_For: 9.9.9.9',
  'x_forwarded-for: 9.9.9.9',
  'X-Forwarded_Host: 9.9.9.9',
  'x_real_ip: 9.9.9.9',
] as const

export const VIA_AND_FORWARDED: readonly Case[] = [
  ...cases('RFC 9110 §7.6.3', 'MUST', [
    {
      title: 'the gateway adds itself to Via, with the version that it was asked in',
      pitfall: 'via',
      client: get(),
      got: { fields: { via: '1.1 spillway' } },
      answer: { status: 200 },
    },
    {
      title: 'an HTTP/1.0 client is told of in Via',
      pitfall: 'via',
      client: 'GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n',
      got: { fields: { via: '1.0 spillway' } },
      answer: { status: 200 },
    },
    {
      title: 'who was there before stays there, in order, comments and all',
      pitfall: 'via',
      client: get('Via: 1.0 fred, 1.1 p.example.net:80 (Apache/1.1)', 'Via: HTTP/2.0 third'),
      got: { fields: { via: '1.0 fred, 1.1 p.example.net:80 (Apache/1.1), HTTP/2.0 third, 1.1 spillway' } },
      answer: { status: 200 },
    },
    {
      title: 'an empty Via is no hop',
      pitfall: 'via',
      client: get('Via:'),
      got: { fields: { via: '1.1 spillway' } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 9110 §7.6.3', 'choice', [
    {
      title: 'answers go on without a Via of ours, and with that of others',
      why: 'a gateway may leave itself out of answers; behind it, to the client, it is the server',
      pitfall: 'via',
      client: get(),
      server: okWith('Via: 1.1 behind'),
      answer: { fields: { via: '1.1 behind' } },
    },
  ]),
  ...cases('RFC 9110 §7.6', 'MUST', [
    {
      title: 'a request that goes in circles is ended: 508 at the ninth time',
      pitfall: 'via',
      client: get(via(9)),
      ...declined(508, 'proxy_loop_detected'),
    },
    {
      title: 'a loop is seen in several lines, and among others',
      pitfall: 'via',
      client: get(...Array.from({ length: 3 }, () => `${via(3)}, 1.1 other`)),
      ...declined(508, 'proxy_loop_detected'),
    },
  ]),
  ...cases('RFC 9110 §7.6', 'choice', [
    {
      title: 'as many as eight gateways of one name may stand in a row',
      why: 'several gateways with the default name are no loop',
      pitfall: 'via',
      client: get(via(8)),
      got: { fields: { via: `${via(8).slice(5)}, 1.1 spillway` } },
      answer: { status: 200 },
    },
    {
      title: 'a host that is called as we are in another place of Via is no hop of ours',
      why: 'only the name of the hop counts',
      client: get(`Via: ${Array.from({ length: 20 }, () => '1.1 other (spillway)').join(', ')}`),
      answer: { status: 200 },
    },
  ]),
  ...cases(
    'RFC 7239 §8.1',
    'choice',
    SPOOFED.map((line) => ({
      title: `of a peer that is not trusted, ${line.slice(0, line.indexOf(':'))} is not believed, and does not go on`,
      why: 'whoever writes it may lie; trustedPeers says who does not',
      pitfall: 'client-address' as const,
      client: get(line),
      got: {
        fields: {
          ...(line.includes('_') || /real|port/i.test(line) ? { [line.slice(0, line.indexOf(':')).toLowerCase()]: [] } : {}),
          forwarded: 'for=127.0.0.1;host=a;proto=http',
          'x-forwarded-for': '127.0.0.1',
          'x-forwarded-host': 'a',
          'x-forwarded-proto': 'http',
        },
      },
      answer: { status: 200 },
    })),
  ),
  ...cases('RFC 7239 §4', 'MUST', [
    {
      title: 'a host with a port, and an IPv6 one, stand in quotes',
      pitfall: 'client-address',
      client: 'GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n',
      got: { fields: { forwarded: 'for=127.0.0.1;host="[2001:db8::1]:80";proto=http' } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 7239 §4', 'choice', [
    {
      title: 'of a trusted peer, Forwarded goes on, ours behind it',
      why: 'the rest of the way is known only to them',
      pitfall: 'client-address',
      gateway: 'trusting',
      client: get('Forwarded: for="[2001:db8::1]:4711";proto=https', 'Forwarded: for=_hidden, for=unknown'),
      got: { fields: { forwarded: 'for="[2001:db8::1]:4711";proto=https, for=_hidden, for=unknown, for=127.0.0.1;host=a;proto=http' } },
      answer: { status: 200 },
    },
    {
      title: 'where no host was named, none is told of',
      why: 'what is not known is not made up',
      client: 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
      got: { fields: { forwarded: 'for=127.0.0.1;proto=http', 'x-forwarded-host': [] } },
      answer: { status: 200 },
    },
    {
      title: 'an empty Forwarded of a trusted peer is no hop',
      why: 'what is not known is not made up',
      gateway: 'trusting',
      client: get('Forwarded:'),
      got: { fields: { forwarded: 'for=127.0.0.1;host=a;proto=http' } },
      answer: { status: 200 },
    },
  ]),
  ...cases('RFC 7239 §7.4', 'choice', [
    {
      title: 'of a trusted peer, X-Forwarded-For goes on in one line, its peer behind it; the rest as it came',
      why: 'there is no standard for X-Forwarded-*; this is what everybody does',
      pitfall: 'client-address',
      gateway: 'trusting',
      client: get(
        'X-Forwarded-For: 9.9.9.9',
        'X-Forwarded-For: 8.8.8.8',
        'X-Forwarded-Proto: https',
        'X-Forwarded-Host: front',
        'X-Forwarded-Port: 443',
        'X-Real-IP: 9.9.9.9',
      ),
      got: {
        fields: {
          'x-forwarded-for': '9.9.9.9, 8.8.8.8, 127.0.0.1',
          'x-forwarded-proto': 'https',
          'x-forwarded-host': 'front',
          'x-forwarded-port': '443',
          'x-real-ip': '9.9.9.9',
        },
      },
      answer: { status: 200 },
    },
    {
      title: 'of a trusted peer, X_Forwarded_For does not go on',
      why: 'many servers read it as X-Forwarded-For, and no proxy sends it',
      pitfall: 'client-address',
      gateway: 'trusting',
      client: get('X_Forwarded_For: 7.7.7.7'),
      got: { fields: { x_forwarded_for: [], 'x-forwarded-for': '127.0.0.1' } },
      answer: { status: 200 },
    },
  ]),
]
