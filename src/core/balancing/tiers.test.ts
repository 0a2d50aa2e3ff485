import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { tierInUse } from './tiers.ts'

test('a backup is in use only while no primary can be used, and then every one that can', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ backup: fc.boolean(), usable: fc.boolean() })), (servers) => {
      const usable = servers.filter((server) => server.usable)
      const inUse = tierInUse(usable)
      const anyPrimary = usable.some(({ backup }) => !backup)
      for (const server of usable) assert.equal(inUse.includes(server), !server.backup || !anyPrimary)
      assert.equal(inUse.length === 0, usable.length === 0)
    }),
  )
})
