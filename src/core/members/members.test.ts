import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { memberDifference, type Source, wantedMembers } from './members.ts'

const names = fc.uniqueArray(
  fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f').map((name) => ({ name })),
  { selector: ({ name }) => name },
)

test('what is removed, kept and added makes the members of now those that are wanted, and touches nobody else', () => {
  fc.assert(
    fc.property(names, names, (now, wanted) => {
      const { added, removed, kept } = memberDifference(now, wanted)
      const left = now.filter((server) => !removed.includes(server))
      assert.deepEqual(
        kept.map(([server]) => server),
        wanted.flatMap(({ name }) => left.filter((server) => server.name === name)),
      )
      assert.deepEqual([...kept.map(([, member]) => member), ...added].toSorted(byName), wanted.toSorted(byName))
      for (const { name } of added) assert.ok(!now.some((server) => server.name === name))
      for (const { name } of removed) assert.ok(!wanted.some((member) => member.name === name))
    }),
  )
})

test('whoever else says that a server is there counts more than the server itself', () => {
  const server = (host: string, source: Source): { name: string; host: string; port: number; weight: number; source: Source } => ({
    name: `${host}:80`,
    host,
    port: 80,
    weight: source === 'registered' ? 9 : 1,
    source,
  })
  const addressesOf = (host: string): readonly string[] | undefined => (host === 'api.internal' ? ['10.0.0.1', '10.0.0.2'] : undefined)
  const declared = [server('api.internal', 'file'), server('10.0.0.2', 'registered'), server('10.0.0.3', 'registered')]
  const wanted = wantedMembers(declared, { changes: new Map(), addressesOf })
  assert.deepEqual(
    wanted.map(({ name, source, weight }) => [name, source, weight]),
    [
      ['10.0.0.1:80', 'dns', 1],
      ['10.0.0.2:80', 'dns', 1],
      ['10.0.0.3:80', 'registered', 9],
    ],
  )
})

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1
}
