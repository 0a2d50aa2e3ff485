import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { memberDifference } from './members.ts'

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

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1
}
