/** The version of the package that this file lies in. */
import { readFileSync } from 'node:fs'

export function version(): string {
  // Two folders up from here, in the sources as in the published package.
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { readonly version: string }).version
}
