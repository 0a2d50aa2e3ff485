/** The conformance suite over the `embedded` engine: real files, the real store thread. */
import { embeddedSource, tempFolder } from './embedded-rig.ts'
import { jobStoreConformance } from './job-store.ts'

jobStoreConformance('embedded', () => embeddedSource(tempFolder().path))
