/** The conformance suite over the `memory` engine. */
import { openMemoryStore } from '../../src/engines/memory/memory-store.ts'
import { systemRandom } from '../../src/ports/system.ts'
import { groupsFor, jobStoreConformance } from './job-store.ts'

jobStoreConformance(
  'memory',
  () => ({ open: (options) => Promise.resolve(openMemoryStore({ ...options, random: systemRandom })), dispose() {} }),
  groupsFor(false),
)
