/** `npm run build`: the published form, JavaScript and declarations in `dist/`. Nothing in the repository runs on it. */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

rmSync(join(ROOT, 'dist'), { recursive: true, force: true })
const done = spawnSync(join(ROOT, 'node_modules', '.bin', 'tsc'), ['-p', 'tsconfig.build.json'], { cwd: ROOT, stdio: 'inherit' })
process.exitCode = done.status ?? 1
