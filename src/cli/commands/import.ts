/** `spillway import`: a configuration of nginx or HAProxy, as one of ours; with every line that could not be translated, and why. */
import { globSync, readFileSync, statSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, resolve } from 'node:path'
import { loadText } from '../../config/load.ts'
import { Draft, placeText } from '../import/draft.ts'
import { importHaproxy } from '../import/haproxy.ts'
import { parseHaproxy } from '../import/haproxy-parse.ts'
import { importNginx } from '../import/nginx.ts'
import { parseNginx, type ReadIncluded, type SourceFile, type WrongSyntax, withIncludes } from '../import/nginx-parse.ts'
import { noteText, writeDraft } from '../import/write-draft.ts'
import type { Arguments, Command, ExitCode, Io } from '../command.ts'
import { complain, EXIT } from '../command.ts'

const FILE_MAX = 16 << 20

export const importCommand: Command = {
  name: 'import',
  positionals: ['FILE'],
  summary:
    'Translate a configuration of nginx or HAProxy. Exit code 1 when something in it could not be translated, 2 when it cannot be read.',
  details: `What was not translated is listed with its line and the reason, and stands as comments at the end of what is written. Requests that cannot be
sent where they went are refused (503), not sent elsewhere: look for "refused". See docs/migrate.`,
  options: {
    from: { type: 'string', value: 'PROGRAM', help: 'nginx or haproxy; default: what the file looks like' },
    out: { type: 'string', value: 'FILE', help: 'write there (never over a file that is there); default: standard output' },
  },
  async run(args, io) {
    const [file = ''] = args.positionals
    const text = readText(file)
    if (typeof text !== 'string') return complain(io, 'import', text.wrong, EXIT.usage)
    const program = args.text('from') ?? looksLike(text)
    if (program !== 'nginx' && program !== 'haproxy') {
      const what = args.has('from')
        ? `--from is nginx or haproxy, not ${program}`
        : `${file} looks neither like nginx nor like haproxy; say --from`
      return complain(io, 'import', what, EXIT.usage)
    }
    const draft = program === 'nginx' ? draftOfNginx(file, text) : draftOfHaproxy(file, text)
    if ('wrong' in draft) return complain(io, 'import', `${placeText(draft.at)}: ${draft.wrong}`, EXIT.usage)
    return await write(draft, { file, args, io })
  },
}

async function write(
  draft: Draft,
  { file, args, io }: { readonly file: string; readonly args: Arguments; readonly io: Io },
): Promise<ExitCode> {
  const yaml = writeDraft(draft, basename(file))
  const out = args.text('out')
  if (out === undefined) io.out(yaml)
  else {
    try {
      await writeFile(out, yaml, { flag: 'wx' })
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      return complain(io, 'import', `${out} ${code === 'EEXIST' ? 'is there already; nothing was written' : `cannot be written (${code})`}`)
    }
  }
  const left = draft.notes.filter(({ kind }) => kind === 'left')
  const refused = draft.routes.filter(({ off }) => off !== undefined)
  for (const note of left) io.err(`${noteText(note)}\n`)
  const loaded = loadText(yaml, { file: out ?? 'spillway.yaml', folder: dirname(resolve(out ?? '.')) }, io.environment)
  if (!loaded.ok) for (const error of loaded.errors) io.err(`to be mended: ${error}\n`)
  const counts = [
    `${draft.routes.length - refused.length} routes`,
    `${draft.pools.length} pools`,
    `${left.length} lines not translated`,
    `${refused.length} routes that refuse`,
  ]
  io.err(`${file}: ${counts.join(', ')}\n`)
  return left.length === 0 && refused.length === 0 && loaded.ok ? EXIT.ok : EXIT.failed
}

export function draftOfHaproxy(file: string, text: string): Draft | WrongSyntax {
  const sections = parseHaproxy({ file: basename(file), text })
  if ('wrong' in sections) return sections
  const draft = new Draft()
  importHaproxy(sections, draft)
  return draft
}

export function draftOfNginx(file: string, text: string): Draft | WrongSyntax {
  const parsed = parseNginx({ file: basename(file), text })
  if ('wrong' in parsed) return parsed
  const directives = withIncludes(parsed, includedFrom(dirname(resolve(file))))
  if ('wrong' in directives) return directives
  const draft = new Draft()
  importNginx(directives, draft)
  return draft
}

/** Relative to the folder of the file that is imported, as nginx has it. */
function includedFrom(folder: string): ReadIncluded {
  return (pattern) => {
    const path = isAbsolute(pattern) ? pattern : join(folder, pattern)
    const found = /[*?[]/.test(path) ? globSync(path).sort() : [path]
    const files: SourceFile[] = []
    for (const each of found) {
      const text = readText(each)
      // What every installation brings along says nothing about routes.
      if (typeof text !== 'string' && /(^|\/)(mime\.types|(fastcgi|uwsgi|scgi)_params|fastcgi\.conf)$/.test(each)) continue
      if (typeof text !== 'string') return text.wrong
      files.push({ file: each.startsWith(`${folder}/`) ? each.slice(folder.length + 1) : each, text })
    }
    return files
  }
}

function readText(file: string): string | { readonly wrong: string } {
  try {
    if (statSync(file).size > FILE_MAX) return { wrong: `${file} is larger than a configuration` }
    return readFileSync(file, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return { wrong: code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read (${code ?? String(error)})` }
  }
}

function looksLike(text: string): string | undefined {
  if (/^\s*(global|defaults|frontend|backend|listen)\b[^;{]*$/m.test(text)) return 'haproxy'
  return /^\s*(http|events|server|upstream|worker_processes)\b.*[;{]/m.test(text) ? 'nginx' : undefined
}
