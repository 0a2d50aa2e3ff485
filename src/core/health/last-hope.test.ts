import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hopeAmong, type Hoped, isHope, mostAreDown } from './last-hope.ts'

function server(state: Hoped['state'], more: Partial<Hoped> = {}): Hoped {
  return { state, refused: false, asksToDrain: false, ...more }
}

test('who asks to be drained is used before who looks bad, and then nobody who looks bad', () => {
  const drains = server('draining', { asksToDrain: true })
  const bad = server('down')
  assert.equal(hopeAmong([bad, drains]), 'drains')
  assert.deepEqual([isHope(drains, 'drains'), isHope(bad, 'drains')], [true, false])
})

test('without them: who is ejected, or fails its checks and can be reached', () => {
  const [refused, operator] = [server('down', { refused: true }), server('draining')]
  assert.equal(hopeAmong([refused, operator]), undefined)
  assert.equal(hopeAmong([refused, server('ejected')]), 'suspect')
  for (const one of [server('ejected'), server('down')]) assert.ok(isHope(one, 'suspect'))
  for (const one of [refused, operator, server('unknown')]) assert.ok(!isHope(one, 'suspect'))
})

test('nobody is anybody to hope for where there is no panic', () => {
  for (const one of [server('ejected'), server('draining', { asksToDrain: true })]) assert.ok(!isHope(one, undefined))
})

test('most are down: more than half of those that are wanted', () => {
  const [up, down, drained] = [server('up'), server('down'), server('draining')]
  assert.deepEqual(
    [mostAreDown([up, down]), mostAreDown([up, down, down]), mostAreDown([up, down, drained, drained]), mostAreDown([])],
    [false, true, false, false],
  )
})
