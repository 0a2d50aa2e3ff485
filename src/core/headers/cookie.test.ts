import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { cookieAttributes, cookieValue, setCookieValue, withoutCookie } from './cookie.ts'

test('a cookie is taken out of all fields, and the others stay in their order', () => {
  assert.equal(withoutCookie(['a=1; own=x; b=2'], 'own'), 'a=1; b=2')
  assert.equal(withoutCookie(['own=x', 'a=1;own="y";  b=2 ; own'], 'own'), 'a=1; b=2')
  assert.equal(withoutCookie([' own = x ; '], 'own'), undefined)
  assert.equal(withoutCookie(['owner=1; xown=2; own.=3; a=own=4'], 'own'), 'owner=1; xown=2; own.=3; a=own=4')
})

test('whatever the cookies are: one that is taken out is not found, and every other one is', () => {
  const name = fc.constantFrom('a', 'b', 'own', 'owns')
  const pair = fc.tuple(name, fc.stringMatching(/^[a-z=]{0,5}$/))
  fc.assert(
    fc.property(fc.array(fc.array(pair, { maxLength: 4 }), { maxLength: 3 }), (lists) => {
      const fields = lists.map((pairs) => pairs.map(([key, value]) => `${key}=${value}`).join('; '))
      const left = withoutCookie(fields, 'own')
      const after = left === undefined ? [] : [left]
      assert.equal(cookieValue(after, 'own'), undefined)
      for (const other of ['a', 'b', 'owns']) assert.equal(cookieValue(after, other), cookieValue(fields, other))
    }),
  )
})

test('what an answer sets a cookie to: the last counts, and one that is taken away is told from one that is set', () => {
  assert.deepEqual(setCookieValue(['x=1', 'SID=abc; Path=/; HttpOnly', 'SIDE=2'], 'SID'), { value: 'abc', gone: false })
  assert.deepEqual(setCookieValue(['SID=a', 'SID=b'], 'SID'), { value: 'b', gone: false })
  for (const field of ['SID=', 'SID=a; Max-Age=0', 'SID=a; max-age = -1 ; Path=/'])
    assert.equal(setCookieValue([field], 'SID')?.gone, true, field)
  assert.equal(setCookieValue(['SID=a; Max-Age=10'], 'SID')?.gone, false)
  assert.equal(setCookieValue(['SID2=a', 'a=SID=b', 'SID'], 'SID'), undefined)
})

test('attributes: a time only where there is one, in whole seconds', () => {
  assert.equal(cookieAttributes({ path: '/', secure: false, sameSite: 'Lax' }), '; Path=/; HttpOnly; SameSite=Lax')
  assert.equal(
    cookieAttributes({ path: '/app', ttlMs: 1500, secure: true, sameSite: 'None' }),
    '; Path=/app; Max-Age=2; HttpOnly; SameSite=None; Secure',
  )
})
