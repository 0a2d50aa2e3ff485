/** The process entry. */
import { createInterface } from 'node:readline/promises'
import { runCli } from './cli/main.ts'

// A reader that went away (`spillway check | head -1`) is no reason to fail.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const closed = new Promise<string>((resolve) => terminal.once('close', () => resolve('')))
  const answer = await Promise.race([terminal.question(question), closed])
  terminal.close()
  return answer
}

const exitCode = await runCli(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  environment: process.env,
  flush: () => new Promise((resolve) => process.stdout.write('', () => resolve())),
  ...(process.stdin.isTTY && process.stdout.isTTY && { ask }),
})
// Nothing that is left open may keep a finished command alive; what has been written is flushed first.
process.stdout.write('', () => process.exit(exitCode))
