import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { altered, type AskedOfServer, placed, readChange, sameChange, type ServerChange, takenOut, WEIGHT_MAX } from './changes.ts'
import { type Declared, type Source, wantedMembers } from './members.ts'

const asked: fc.Arbitrary<AskedOfServer> = fc.record(
  {
    weight: fc.oneof(fc.integer({ min: 1, max: WEIGHT_MAX }), fc.constant('file' as const)),
    duty: fc.constantFrom('ready' as const, 'drain' as const, 'maint' as const),
  },
  { requiredKeys: [] },
)
const step = fc.record({ what: fc.constantFrom('place', 'alter', 'takeOut'), asked })

function apply(
  change: ServerChange | undefined,
  { what, asked: of }: { what: string; asked: AskedOfServer },
  inFile: boolean,
  now: number,
) {
  const known = { change, inFile, now }
  if (what === 'place') return placed(of, known)
  return what === 'alter' ? altered(of, known) : takenOut(known)
}

const FILE_WEIGHT = 7

/** What the pool has of it then: undefined where it is no member. */
function memberOf(change: ServerChange | undefined, inFile: boolean): { readonly weight: number; readonly duty: string } | undefined {
  const declared = { name: 'a:1', host: 'a', port: 1, source: 'file' as Source, weight: inFile ? FILE_WEIGHT : 1 }
  const present = inFile || change?.added === true
  const changes = new Map(change === undefined ? [] : [['a:1', change]])
  const [member] = wantedMembers(present ? [declared] : [], { changes, addressesOf: () => undefined })
  return member && { weight: member.weight, duty: member.duty }
}

test('whatever was changed before: who is placed is a member just so, who is taken out is none, and back in the file nothing is left of it', () => {
  fc.assert(
    fc.property(fc.boolean(), fc.array(step), asked, (inFile, steps, last) => {
      let change: ServerChange | undefined
      for (const [now, each] of steps.entries()) change = apply(change, each, inFile, now)
      const before = memberOf(change, inFile)
      const put = placed(last, { change, inFile, now: 99 })
      const own = inFile ? FILE_WEIGHT : 1
      assert.deepEqual(memberOf(put, inFile), {
        weight: last.weight === undefined || last.weight === 'file' ? own : last.weight,
        duty: last.duty ?? 'ready',
      })
      assert.ok(sameChange(placed(last, { change: put, inFile, now: 100 }), put), 'twice is once')
      assert.equal(placed(last, { change: put, inFile, now: 100 })?.since, put?.since)
      const gone = takenOut({ change: put, inFile, now: 101 })
      assert.equal(memberOf(gone, inFile), undefined)
      if (inFile) assert.equal(placed({}, { change: gone, inFile, now: 102 }), undefined)
      if (before !== undefined) {
        const now = memberOf(altered(last, { change, inFile, now: 103 }), inFile)
        assert.equal(now?.duty, last.duty ?? before.duty)
        if (last.weight === undefined) assert.equal(now?.weight, before.weight)
      }
    }),
  )
})

test('what is kept is read as it was written, and anything else is no change', () => {
  fc.assert(
    fc.property(fc.boolean(), asked, (inFile, of) => {
      const change = placed(of, { change: undefined, inFile, now: 5 })
      if (change !== undefined) assert.deepEqual(readChange(JSON.stringify(change)), change)
    }),
  )
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => void readChange(text)))
  for (const text of ['', '[]', '{}', '{"since":1,"weight":0}', '{"since":1,"duty":"up"}']) assert.equal(readChange(text), undefined)
})

test('a host name stands for its addresses, each with what was changed about it or else about the name', () => {
  const named = { name: 'web:80', host: 'web', port: 80, weight: 3, source: 'file' as Source }
  const fixed = { name: '10.0.0.2:80', host: '10.0.0.2', port: 80, weight: 1, source: 'file' as Source }
  const changes = new Map<string, ServerChange>([
    ['web:80', { duty: 'drain', since: 1 }],
    ['10.0.0.3:80', { weight: 9, since: 1 }],
    ['10.0.0.4:80', { removed: true, since: 1 }],
  ])
  const members = (declared: readonly (Declared & { source: Source })[], addresses: readonly string[]): unknown =>
    wantedMembers(declared, { changes, addressesOf: (host) => (host === 'web' ? addresses : undefined) }).map(
      ({ name, host, hostName, weight, duty, source }) => [name, host, hostName, weight, duty, source],
    )
  const four = ['10.0.0.2', '10.0.0.3', '10.0.0.4', 'fd00::1']
  const ofFixed = ['10.0.0.2:80', '10.0.0.2', undefined, 1, 'ready', 'file']
  const others = [
    ['10.0.0.3:80', '10.0.0.3', 'web', 9, 'drain', 'dns'],
    ['[fd00::1]:80', 'fd00::1', 'web', 3, 'drain', 'dns'],
  ]
  assert.deepEqual(members([fixed, named], four), [ofFixed, ...others], 'who stands there by itself is not doubled')
  assert.deepEqual(members([named, fixed], four), [ofFixed, ...others])
  assert.deepEqual(members([named], []), [])
})
