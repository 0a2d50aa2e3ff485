/**
 * Breaks a gateway on purpose, to practise: starts one with two servers in a folder of its own, breaks it in one of eight ways, says where to
 * look, and waits. Enter: the cause outside of the gateway goes away. Ctrl-C: everything is taken down.
 *
 *   node scripts/setup.mjs scripts/break-gateway.ts dead-servers
 */
import { once } from 'node:events'
import { join } from 'node:path'
import { startBroken, WAYS } from '../test/support/broken-gateway.ts'

async function main(name: string): Promise<number> {
  const way = Object.hasOwn(WAYS, name) ? WAYS[name] : undefined
  if (way === undefined) {
    const width = Math.max(...Object.keys(WAYS).map((each) => each.length))
    const list = Object.entries(WAYS).map(([each, { says }]) => `  ${each.padEnd(width)}  ${says}`)
    process.stderr.write(`say how the gateway shall be broken:\n${list.join('\n')}\n`)
    return 2
  }
  const problem = way.problem?.()
  if (problem !== undefined) {
    process.stderr.write(`${name} cannot be done here: ${problem}\n`)
    return 1
  }
  await using broken = await startBroken(way)
  const main = join(import.meta.dirname, '..', 'src', 'main.ts')
  process.stdout.write(`broken: ${name}. What it is stands in docs/runbook/${way.page}.md; find it without, in another terminal:

  cd ${broken.folder}
  spillway() { ${process.execPath} ${main} "$@"; }
  spillway status; spillway doctor; spillway queues list
${broken.jobs
  .slice(0, 2)
  .map((job) => `  spillway why ${job}\n`)
  .join('')}
gateway ${broken.gateway.url}, pid ${broken.gateway.pid}. Enter: ${way.heals}. Ctrl-C: the end.
`)
  const ended = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM'), broken.gateway.exited])
  process.stdin.once('data', () => {
    void broken.heal().then(() => process.stdout.write('done; the rest is yours\n'))
  })
  await ended
  process.stdin.destroy()
  return 0
}

process.exitCode = await main(process.argv[2] ?? '')
