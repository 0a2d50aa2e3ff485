/** `spillway init`: a commented configuration to start from. Never overwrites. */
import { writeFile } from 'node:fs/promises'
import type { Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { DEFAULT_FILE } from '../config-argument.ts'

export const INITIAL_CONFIG = `# Spillway. Check with: spillway check    Start with: spillway run
# Every key: docs/reference/config.md

# Where clients connect. 0.0.0.0:8080 for every interface.
listeners: [127.0.0.1:8080]

# Servers that do the same work.
pools:
  app: [http://127.0.0.1:3000]
  # With settings:
  # app:
  #   servers: [http://127.0.0.1:3000, { url: http://127.0.0.1:3001, weight: 2 }]
  #   maxInFlight: 64                                  # requests per server
  #   health: { path: /healthz, interval: 2s }         # without a path: can it be connected to?

# Which requests go where. The most specific match wins.
routes:
  # Stored, answered with 202 and a link at once, worked off in the background.
  # - { match: POST /reports, mode: queue }

  # Direct while a server has capacity; when none has, stored, and the client is held until its answer is there.
  # Requests with the same {id} run one at a time, in order.
  # - { match: "POST /orders/{id}", mode: spill, key: path:id }

  # Servers are asked for /x instead of /api/x; fields are set on the way there and back.
  # - { match: /api/*, rewrite: { strip: /api }, headers: { response: { set: { Strict-Transport-Security: max-age=31536000 } } } }

  # Answered by the gateway itself.
  # - { match: /old/*, redirect: { to: "/new/{*}" } }

  # Everything else: an ordinary load balancer.
  - { match: "/*" }

# Queues are named after the path of their route; they stand here only to change a default.
# queues:
#   reports: { concurrency: 4, attempts: 10, timeout: 5m, keep: 7d }

# Where accepted jobs are kept.
store: { path: ./data }

# Health, metrics and status for you.
admin: { address: 127.0.0.1:9900 }
`

export const initCommand: Command = {
  name: 'init',
  positionals: ['[file]'],
  summary: `Write a commented configuration (default: ${DEFAULT_FILE}). An existing file is left alone.`,
  options: {},
  async run(args, io) {
    const file = args.positionals[0] ?? DEFAULT_FILE
    try {
      await writeFile(file, INITIAL_CONFIG, { flag: 'wx' })
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      io.err(
        `spillway init: ${file} ${code === 'EEXIST' ? 'is there already; nothing was written' : `cannot be written (${code ?? String(error)})`}\n`,
      )
      return EXIT.failed
    }
    io.out(`wrote ${file}; edit it, then: spillway run${file === DEFAULT_FILE ? '' : ` ${file}`}\n`)
    return EXIT.ok
  },
}
