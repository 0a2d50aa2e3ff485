/** `npm run docs`: writes the generated files that are stale. */
import { refreshGenerated } from './generated.ts'

for (const path of refreshGenerated()) process.stdout.write(`wrote ${path}\n`)
