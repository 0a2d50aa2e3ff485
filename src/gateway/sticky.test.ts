/** What is remembered of sessions, and what cookies of ours hold. How calls use it is tested through the gateway. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ManualClock } from '../../test/support/manual-clock.ts'
import { LearntSessions, tokensOf } from './sticky.ts'

const SERVER = { pool: 'a', name: '127.0.0.1:1' }
const key = (n: number): { id: string; secret: Uint8Array } => ({ id: `k${n}`, secret: new Uint8Array(32).fill(n) })

test('a session is forgotten when it was not used for its ttl, and not a moment before', () => {
  const clock = new ManualClock()
  const learnt = new LearntSessions(10, clock)
  learnt.made('SID', 'x', SERVER)
  clock.advance(1000)
  assert.equal(learnt.find('SID', 'x', 1000)?.name, SERVER.name)
  clock.advance(1)
  assert.equal(learnt.find('SID', 'x', 1000), undefined)
})

test('the last n sessions are known whatever comes, and never more than 2 n', () => {
  const learnt = new LearntSessions(3, new ManualClock())
  const known = (): number =>
    Array.from({ length: 20 }, (_, n) => learnt.find('SID', `s${n}`, 1000)).filter((place) => place !== undefined).length
  for (let n = 0; n < 6; n++) learnt.made('SID', `s${n}`, SERVER)
  assert.equal(known(), 6)
  learnt.made('SID', 's6', SERVER)
  assert.equal(known(), 4)
  for (const n of [4, 5, 6]) assert.notEqual(learnt.find('SID', `s${n}`, 1000), undefined)
})

test('cookies of different names, long values and forgotten ones are kept apart', () => {
  const learnt = new LearntSessions(10, new ManualClock())
  const long = 'x'.repeat(4000)
  learnt.made('A', '1', SERVER)
  learnt.made('A', `${long}1`, { pool: 'b', name: 'other' })
  assert.equal(learnt.find('B', '1', 1000), undefined)
  assert.equal(learnt.find('A', `${long}2`, 1000), undefined)
  assert.equal(learnt.find('A', `${long}1`, 1000)?.name, 'other')
  learnt.forget('A', `${long}1`)
  assert.equal(learnt.find('A', `${long}1`, 1000), undefined)
  assert.equal(learnt.find('A', '1', 1000)?.pool, 'a')
})

test('a token depends on pool, server and key, and on nothing else', () => {
  const [token] = tokensOf(SERVER, [key(1)])
  assert.match(token ?? '', /^[\w-]{22}$/)
  assert.deepEqual(tokensOf({ ...SERVER }, [key(2), key(1)])[1], token)
  const others = [
    tokensOf({ ...SERVER, pool: 'b' }, [key(1)]),
    tokensOf({ ...SERVER, name: '127.0.0.1:2' }, [key(1)]),
    tokensOf(SERVER, [key(2)]),
  ]
  for (const [other] of others) assert.notEqual(other, token)
  // As long as this is the version: gateways of different releases stand side by side.
  assert.equal(token, 'J6OTtqU4yskSDveJanLjrE')
})

test('sessions that clients make up push out none that an answer has made, and one another first', () => {
  const learnt = new LearntSessions(10, new ManualClock())
  learnt.made('SID', 'real', SERVER)
  for (let n = 0; n < 1000; n++) learnt.shown('SID', `madeup${n}`, SERVER)
  assert.notEqual(learnt.find('SID', 'real', 1000), undefined)
  assert.notEqual(learnt.find('SID', 'madeup999', 1000), undefined)
  assert.equal(learnt.find('SID', 'madeup990', 1000), undefined)
  learnt.shown('SID', 'real', { pool: 'a', name: 'other' })
  for (let n = 0; n < 1000; n++) learnt.shown('SID', `more${n}`, SERVER)
  assert.equal(learnt.find('SID', 'real', 1000)?.name, 'other')
})
