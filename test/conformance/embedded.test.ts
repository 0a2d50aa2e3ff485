/**
 * The conformance suite over the `embedded` engine. All of it without the store thread: the engine, real files, and the format in which
 * calls cross threads. Through the real thread, which takes a tenth of a second to begin, whatever is about how calls come together,
 * bodies, and opening again.
 */
import { embeddedSource, inProcessSource, tempFolder } from './embedded-rig.ts'
import { groupsFor, jobStoreConformance } from './job-store.ts'

jobStoreConformance('embedded', () => inProcessSource(tempFolder().path), groupsFor(true))
jobStoreConformance('embedded, on its thread', () => embeddedSource(tempFolder().path), [
  'submit',
  'submit together',
  'lease',
  'keys',
  'settle',
  'blobs',
  'commands',
  'time',
  'stats',
  'dead letters',
  'restart',
])
