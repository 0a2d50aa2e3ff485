/** What `spillway import` makes of a text: the configuration as it would be read, and the lines that are left, with the reason. */
import assert from 'node:assert/strict'
import { parse } from 'yaml'
import { Draft } from '../../src/cli/import/draft.ts'
import { importHaproxy } from '../../src/cli/import/haproxy.ts'
import { parseHaproxy } from '../../src/cli/import/haproxy-parse.ts'
import { importNginx } from '../../src/cli/import/nginx.ts'
import { parseNginx } from '../../src/cli/import/nginx-parse.ts'
import { writeDraft } from '../../src/cli/import/write-draft.ts'
import { loadText } from '../../src/config/load.ts'
import type { ConfigFile } from '../../src/config/schema.ts'

export interface Imported {
  readonly config: ConfigFile
  /** `line: text -> reason` */
  readonly left: readonly string[]
  readonly needless: readonly string[]
}

const ENVIRONMENT = { STICKY_KEY: 'a'.repeat(64) }

export function importedNginx(text: string): Imported {
  const parsed = parseNginx({ file: 'nginx.conf', text })
  assert.ok(!('wrong' in parsed), JSON.stringify(parsed))
  const draft = new Draft()
  importNginx(parsed, draft)
  return imported(draft)
}

export function importedHaproxy(text: string): Imported {
  const parsed = parseHaproxy({ file: 'haproxy.cfg', text })
  assert.ok(!('wrong' in parsed), JSON.stringify(parsed))
  const draft = new Draft()
  importHaproxy(parsed, draft)
  return imported(draft)
}

/** It loads, but for files of certificates, which are not there. */
function imported(draft: Draft): Imported {
  const yaml = writeDraft(draft, 'a test')
  if (draft.routes.length > 0) {
    const loaded = loadText(yaml, { file: 'spillway.yaml', folder: '/' }, ENVIRONMENT)
    const wrong = loaded.ok ? [] : loaded.errors.map(String).filter((error) => !error.includes('/certs/'))
    assert.deepEqual(wrong, [], yaml)
  }
  const of = (kind: string): string[] =>
    draft.notes.filter((note) => note.kind === kind).map(({ source, reason }) => `${source.at.line}: ${source.text} -> ${reason}`)
  return { config: (parse(yaml) ?? {}) as ConfigFile, left: of('left'), needless: of('needless') }
}

export function routesOf({ config }: Imported): Record<string, unknown>[] {
  return (config.routes ?? []) as unknown as Record<string, unknown>[]
}

export function poolOf({ config }: Imported, name: string): Record<string, unknown> {
  return (config.pools?.[name] ?? {}) as Record<string, unknown>
}
