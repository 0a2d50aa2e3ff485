/**
 * `npm run build [-- folder]`: the published form, a package of JavaScript and declarations, in `dist/` or that folder. Nothing in the repository runs on it; there the
 * exports of package.json lead to the sources.
 */
import { spawnSync } from 'node:child_process'
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
const DIST = resolve(process.argv[2] ?? join(ROOT, 'dist'))
/** What a user of the package needs to know of ours. */
const FIELDS = ['name', 'version', 'description', 'license', 'type', 'engines', 'dependencies'] as const

/** `./src/client/client.ts` is `./client/client.js` there, with its declarations beside it. */
function published(source: string): { readonly types: string; readonly default: string } {
  const stem = source.replace(/^\.\/src\//, './').replace(/\.ts$/, '')
  return { types: `${stem}.d.ts`, default: `${stem}.js` }
}

/** Of `spillway/react` alone: whoever uses it has it. */
const PEERS = { peerDependencies: { react: '>=18' }, peerDependenciesMeta: { react: { optional: true } } }

rmSync(DIST, { recursive: true, force: true })
const done = spawnSync(join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', 'tsconfig.build.json', '--outDir', DIST], {
  cwd: ROOT,
  stdio: 'inherit',
})
process.exitCode = done.status ?? 1
const ours = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Record<string, unknown> & { exports: Record<string, string> }
const theirs = {
  ...Object.fromEntries(FIELDS.map((field) => [field, ours[field]])),
  ...PEERS,
  // A bundler leaves out what a page does not use.
  sideEffects: false,
  exports: Object.fromEntries(Object.entries(ours.exports).map(([name, source]) => [name, published(source)])),
}
writeFileSync(join(DIST, 'package.json'), `${JSON.stringify(theirs, undefined, 2)}\n`)
for (const file of ['LICENSE', 'README.md']) copyFileSync(join(ROOT, file), join(DIST, file))
