/** `spillway upgrade`: another process takes over from a running gateway, and nobody who connects is refused. */
import { setTimeout as sleep } from 'node:timers/promises'
import { isMapping } from '../../lib/mapping.ts'
import { isAlive } from '../../lib/process-alive.ts'
import type { Millis } from '../../lib/units.ts'
import { ADMIN_OPTION, type AdminAddress, askStatus, findAdmin, TOKEN_VARIABLE } from '../admin-client.ts'
import { type Command, complain, EXIT } from '../command.ts'
import { DEFAULT_FILE } from '../config-argument.ts'
import { QueueApi } from '../queue-api.ts'

const ASK_EVERY_MS: Millis = 200
/** Jobs that run have `drainTimeout`; a store after a crash takes as long as it takes. */
const PATIENCE_MS: Millis = 600_000
/** The process before it begins anew, when the new one has failed with the store in hand. */
const AGAIN_MS: Millis = 15_000

export const upgradeCommand: Command = {
  name: 'upgrade',
  positionals: ['[file]'],
  summary: `Let a new process take over from a running gateway (default: ${DEFAULT_FILE}). Nobody who connects is refused.`,
  details: `The same as SIGUSR2, with an answer. The gateway starts its own command once more, with the program and the configuration that stand on the disk now, and\ngives it its sockets; jobs that run may end (drainTimeout), then it gets the store, and the old process ends with its last calls. Whatever is wrong\nwith the new one before that leaves the old one as it was. Without a file, --admin names the address, and the token is read from the variable\n${TOKEN_VARIABLE}.`,
  options: { admin: ADMIN_OPTION },
  async run(args, io) {
    const admin = await findAdmin(args, io, 'upgrade')
    if (admin === undefined) return EXIT.usage
    const told = await new QueueApi(admin).post('upgrade')
    if ('wrong' in told) return complain(io, 'upgrade', told.wrong)
    const { document } = told.value
    const pid = isMapping(document) ? Number(document['pid']) : Number.NaN
    const wrong = await takenOver(admin, pid)
    if (wrong !== undefined) return complain(io, 'upgrade', wrong)
    io.out(`pid ${pid} has taken over; the process before it ends when its last calls have\n`)
    return EXIT.ok
  },
}

/** Undefined: it has. */
async function takenOver(admin: AdminAddress, pid: number): Promise<string | undefined> {
  let until = performance.now() + PATIENCE_MS
  let isEnded = false
  while (performance.now() < until) {
    const told = await askStatus(admin)
    // Nobody answers while the one has given the address up and the other has not begun.
    if ('value' in told) {
      const { pid: answering, ready, successor } = told.value
      // Its admin address is there before its threads are.
      if (answering === pid && ready.reason !== 'starting') return undefined
      if (answering !== pid && successor !== pid) return `pid ${pid} did not take over, the process before it goes on; its log says why`
    } else if (!isEnded && isLocal(admin) && !isAlive(pid)) {
      isEnded = true
      until = performance.now() + AGAIN_MS
    }
    await sleep(ASK_EVERY_MS)
  }
  return isEnded
    ? `pid ${pid} has ended, and nobody answers any more; the log of the gateway says why`
    : `pid ${pid} has not taken over yet; the log of the gateway says more`
}

function isLocal({ url }: AdminAddress): boolean {
  return /^(?:127\.|localhost$|\[::1\]$)/.test(new URL(url).hostname)
}
