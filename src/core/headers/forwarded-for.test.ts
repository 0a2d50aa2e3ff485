import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clientBehind } from './forwarded-for.ts'

const isTrusted = (address: string): boolean => address.startsWith('10.') || address === '::1'

test('the client is the nearest address that no trusted proxy has', () => {
  const cases: readonly (readonly [peer: string, fields: readonly string[], client: string])[] = [
    ['1.2.3.4', ['5.6.7.8'], '1.2.3.4'],
    ['10.0.0.1', ['5.6.7.8'], '5.6.7.8'],
    ['10.0.0.1', ['forged, 5.6.7.8, 10.0.0.2'], '5.6.7.8'],
    ['10.0.0.1', ['forged', '5.6.7.8 ,10.0.0.2'], '5.6.7.8'],
    ['10.0.0.1', [], '10.0.0.1'],
    ['10.0.0.1', [''], '10.0.0.1'],
    ['10.0.0.1', ['10.0.0.3, 10.0.0.2'], '10.0.0.3'],
    ['::1', ['5.6.7.8:4711'], '5.6.7.8'],
    ['::1', ['[2001:db8::1]:4711'], '2001:db8::1'],
    ['::1', ['[2001:db8::1]'], '2001:db8::1'],
    ['::1', ['2001:db8::1'], '2001:db8::1'],
    ['::1', ['unknown'], 'unknown'],
  ]
  for (const [peer, fields, client] of cases) assert.equal(clientBehind(peer, fields, isTrusted), client, `${peer} ${fields.join(' | ')}`)
})
