/** `spillway support-bundle`: what somebody who helps wants to see, in one file, without secrets. */
import { writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { adminOf, ADMIN_OPTION, wrongUrl } from '../admin-client.ts'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE, readConfigOrTell } from '../config-argument.ts'
import { supportBundle } from '../doctor/bundle.ts'
import { sizeText } from '../doctor/finding.ts'

export const supportBundleCommand: Command = {
  name: 'support-bundle',
  positionals: ['[file]'],
  summary: 'Write one file for somebody who helps: configuration, findings, status, metrics, last access lines; without secrets.',
  details:
    'It is JSON, compressed with gzip. Left out are tokens, credentials, values of the environment, bodies. Names of hosts, queues and routes, and the\naddresses of clients in access lines stay: read it before you send it.',
  options: {
    admin: ADMIN_OPTION,
    out: { type: 'string', value: 'PATH', help: 'where to (default: spillway-support-<time>.json.gz in this folder)' },
  },
  async run(args, io) {
    const url = args.text('admin')
    const wrong = url === undefined ? undefined : wrongUrl(url)
    if (wrong !== undefined) {
      io.err(`spillway support-bundle: ${wrong}\n`)
      return EXIT.usage
    }
    const config = await readConfigOrTell(args.positionals[0] ?? DEFAULT_FILE, io)
    if (config === undefined) return EXIT.usage
    const admin = adminOf(config, io)
    const bundle = await supportBundle(config, url === undefined ? admin : { ...admin, url: url.replace(/\/+$/, '') }, io.environment)
    const path = args.text('out') ?? `spillway-support-${new Date().toISOString().replaceAll(/[:.]/g, '-')}.json.gz`
    const bytes = await promisify(gzip)(`${JSON.stringify(bundle, undefined, 2)}\n`)
    try {
      // Redacted or not, it is its owner's to hand on.
      await writeFile(path, bytes, { flag: 'wx', mode: 0o600 })
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      const says = code === 'EEXIST' ? 'is there already; nothing was written' : `cannot be written (${code ?? String(error)})`
      io.err(`spillway support-bundle: ${path} ${says}\n`)
      return EXIT.failed
    }
    io.out(`wrote ${path} (${sizeText(bytes.length)}); read it before you send it: gunzip -c ${path}\n`)
    return EXIT.ok
  },
}
