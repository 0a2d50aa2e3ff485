/**
 * Being asked to stop: SIGTERM, SIGINT, or the end of a supervisor that keeps a channel to this process (nobody else would ever stop it then; the
 * channel of a process that this one takes over from is none of that).
 * The first request is a promise; a second one ends the process at once, with exit code 1.
 */
import { EXIT } from './command.ts'

/** One Ctrl-C may arrive twice: the terminal sends it to every process of the group, and npm passes it on. */
const SAME_KEYSTROKE_MS = 300

export function stopRequest(moreSignals: readonly NodeJS.Signals[], lastWords: () => void, hasSupervisor = true): Promise<'stop'> {
  let askedAt: number | undefined
  return new Promise((resolve) => {
    const onRequest = (): void => {
      if (askedAt === undefined) {
        askedAt = performance.now()
        resolve('stop')
      } else if (performance.now() - askedAt > SAME_KEYSTROKE_MS) {
        lastWords()
        process.exit(EXIT.failed)
      }
    }
    for (const signal of ['SIGTERM', 'SIGINT', ...moreSignals]) process.on(signal, onRequest)
    if (hasSupervisor) process.on('disconnect', onRequest)
  })
}
