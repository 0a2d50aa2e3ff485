/** Files that are generated but committed, because people and editors read them. `npm run docs` writes them; the check and a test fail while one is stale. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cliPage } from './cli-page.ts'
import { conformancePage } from './conformance-page.ts'
import { withFaultTable } from './fault-table.ts'
import { lintConfig } from './layers.ts'
import { referencePages } from './reference-pages.ts'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

/** What each file must hold now, by its path in the repository. */
export function generatedFiles(): Readonly<Record<string, string>> {
  const pages = Object.entries(referencePages()).map(([name, text]) => [`docs/reference/${name}`, text] as const)
  return {
    '.oxlintrc.json': `${JSON.stringify(lintConfig(), undefined, 2)}\n`,
    'docs/cli.md': cliPage(),
    'docs/guarantees.md': withFaultTable(committedText('docs/guarantees.md') ?? ''),
    'docs/reference/conformance.md': conformancePage(),
    ...Object.fromEntries(pages),
  }
}

/** Undefined: it is not there. */
export function committedText(path: string): string | undefined {
  try {
    return readFileSync(join(ROOT, path), 'utf8')
  } catch {
    return undefined
  }
}

/** Writes what is stale; gives its paths. */
export function refreshGenerated(): readonly string[] {
  const stale = Object.entries(generatedFiles()).filter(([path, text]) => committedText(path) !== text)
  for (const [path, text] of stale) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true })
    writeFileSync(join(ROOT, path), text)
  }
  return stale.map(([path]) => path)
}
