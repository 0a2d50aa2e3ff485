/** The process entry. */
import { runCli } from './cli/main.ts'

// A reader that went away (`spillway check | head -1`) is no reason to fail.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

const exitCode = await runCli(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  environment: process.env,
})
// Nothing that is left open may keep a finished command alive; what has been written is flushed first.
process.stdout.write('', () => process.exit(exitCode))
