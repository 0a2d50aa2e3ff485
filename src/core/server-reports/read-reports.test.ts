import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { LOAD_MAX, parseDrain, parseLoad, readReports } from './read-reports.ts'

test('a load is a plain decimal from 0 to 10, and nothing else', () => {
  for (const [text, load] of [
    ['0', 0],
    ['0.5', 0.5],
    ['1', 1],
    ['1.25', 1.25],
    [String(LOAD_MAX), LOAD_MAX],
    ['10.000', LOAD_MAX],
  ] as const)
    assert.equal(parseLoad(text), load)
  for (const text of [
    '10.01',
    '11',
    '50',
    '50%',
    '-0.1',
    '+1',
    '.5',
    '1.',
    '1e0',
    '0x1',
    'NaN',
    'Infinity',
    '',
    ' 1',
    '1,0',
    '0.1234567890123456',
  ]) {
    assert.equal(parseLoad(text), undefined, text)
  }
})

test('a wish is now, off, or a duration that is more than nothing', () => {
  for (const [text, drain] of [
    ['now', 'now'],
    ['OFF', 'off'],
    ['30s', 30_000],
    ['5m', 300_000],
  ] as const)
    assert.equal(parseDrain(text), drain)
  for (const text of ['', 'yes', 'true', '0s', '30', '-1s', '1.5s', 'now, off', 'now;q=1']) assert.equal(parseDrain(text), undefined, text)
})

test('what is not one of the forms is garbled and says nothing; the other field counts', () => {
  assert.deepEqual(readReports(['Spillway-Load', '50%', 'SPILLWAY-DRAIN', 'now']), {
    drain: 'now',
    garbled: [{ field: 'Spillway-Load', value: '50%' }],
  })
  assert.deepEqual(readReports(['Spillway-Load', '0.5', 'Spillway-Drain', 'soon']), {
    load: 0.5,
    garbled: [{ field: 'Spillway-Drain', value: 'soon' }],
  })
})

test('a field that is there twice says two things, so it says nothing', () => {
  const garbled = [{ field: 'Spillway-Load', value: '0.1, 0.9' }]
  assert.deepEqual(readReports(['Spillway-Load', '0.1', 'x', 'y', 'spillway-load', '0.9']), { garbled })
})

test('other fields say nothing, whatever is in them', () => {
  const name = fc.constantFrom('Spillway-Status', 'X-Load', 'Spillway_Load', 'Spillway-Drains', 'Content-Type')
  fc.assert(
    fc.property(fc.array(fc.tuple(name, fc.string())), (fields) => {
      assert.equal(readReports(fields.flat()), undefined)
    }),
  )
})

test('whatever is sent, a load is a number within its bounds, and a wish has an end', () => {
  const value = fc.oneof(
    fc.string(),
    fc.double().map(String),
    fc.stringMatching(/^[0-9.]{1,6}$/),
    fc.stringMatching(/^\d{1,9}(ms|s|m|h|d)$/),
  )
  fc.assert(
    fc.property(value, value, (load, drain) => {
      const read = readReports(['Spillway-Load', load, 'Spillway-Drain', drain])
      assert.ok(read?.load === undefined || (read.load >= 0 && read.load <= LOAD_MAX))
      assert.ok(typeof read?.drain !== 'number' || (read.drain > 0 && Number.isFinite(read.drain)))
    }),
  )
})
