/**
 * The conformance suite over the `embedded` engine. All of it without the store thread: the engine, real files, and the format in which
 * calls cross threads. Through the real thread, which takes a tenth of a second to begin, what is about how calls come together, bodies, and
 * opening again; SOAK=1: more of it, which differs only in where it is done.
 */
import { FULL } from '../soak/form.ts'
import { embeddedSource, inProcessSource, tempFolder } from './embedded-rig.ts'
import { type Group, groupsFor, jobStoreConformance } from './job-store.ts'

const ON_ITS_THREAD: readonly Group[] = ['submit', 'submit together', 'settle', 'blobs', 'restart']
const AS_WELL: readonly Group[] = ['lease', 'keys', 'commands', 'time', 'stats', 'dead letters']

jobStoreConformance('embedded', () => inProcessSource(tempFolder().path), groupsFor(true))
jobStoreConformance('embedded, on its thread', () => embeddedSource(tempFolder().path), [...ON_ITS_THREAD, ...(FULL ? AS_WELL : [])])
