/**
 * Starts an example: two copies of its app and a gateway in front of them, as processes of their own, and bundles its page. What is killed comes
 * back after a second, as under any supervisor. Ctrl-C ends it all.
 *
 *   node examples/start.ts reports
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { build } from 'esbuild'

const BACK_AFTER_MS = 1000
const { PORT = '8080', APP_A = '3001', APP_B = '3002' } = process.env
const folder = join(import.meta.dirname, process.argv[2] ?? 'reports')
const running = new Set<ChildProcess>()

/** Any bundler will do: what the page imports is one file of plain JavaScript. */
await build({
  entryPoints: ['index.html', 'style.css', 'page.ts'].map((name) => join(folder, 'page', name)),
  outdir: join(folder, 'dist'),
  bundle: true,
  format: 'esm',
  loader: { '.html': 'copy' },
})
keepRunning('app a', [join(folder, 'app.ts')], { NAME: 'app a', PORT: APP_A })
keepRunning('app b', [join(folder, 'app.ts')], { NAME: 'app b', PORT: APP_B })
keepRunning('gateway', [join(import.meta.dirname, '..', 'src', 'main.ts'), 'run', join(folder, 'spillway.yaml')], {})
console.log(`http://127.0.0.1:${PORT}`)

function keepRunning(name: string, args: readonly string[], env: Readonly<Record<string, string>>): void {
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'inherit'] })
  running.add(child)
  console.log(`${name}: kill -9 ${child.pid}`)
  child.on('exit', () => {
    running.delete(child)
    setTimeout(() => keepRunning(name, args, env), BACK_AFTER_MS)
  })
}

process.on('exit', () => running.forEach((child) => child.kill()))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(0))
