/** The certificates that a configuration names: how much longer they are valid. Where the gateway runs, it tells itself which ones it shows. */
import type { Config } from '../../config/config.ts'
import { readPair } from '../../config/tls-files.ts'
import type { Finding } from './finding.ts'
import { certificateCauses } from './running.ts'

export function checkCertificates({ listeners }: Config): readonly Finding[] {
  return listeners.flatMap(({ tls }) =>
    (tls?.certificates ?? []).flatMap((files): readonly Finding[] => {
      const pair = readPair(files)
      if ('wrong' in pair) return [{ check: 'certificate', level: 'warn', says: pair.wrong }]
      return certificateCauses({ file: files.cert, ...pair.facts }, Date.now()).map(({ shown: _, ...finding }) => finding)
    }),
  )
}
