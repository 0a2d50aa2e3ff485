/** Words and figures for people at a terminal. What clients chose (keys, references, queues) is shown so that it can neither be overlooked nor steer the terminal. */
import type { EpochMillis } from '../lib/units.ts'

/** As it is, where it is one plain word; else quoted, with everything invisible escaped. */
export function shown(text: string): string {
  if (/^[^\s"'\\\p{C}]+$/u.test(text)) return text
  return JSON.stringify(text).replaceAll(/\p{C}/gu, (char) => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`)
}

/** As an argument of a command that can be pasted into a shell; what cannot be seen is spelled out. */
export function shellWord(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text
  if (!/\p{C}/u.test(text)) return `'${text.replaceAll("'", "'\\''")}'`
  const octal = [...Buffer.from(text)].map((byte) => `\\0${byte.toString(8).padStart(3, '0')}`)
  return `"$(printf %b '${octal.join('')}')"`
}

export function releaseCommand(queue: string, key: string): string {
  return `spillway keys release ${shellWord(queue)} ${key.startsWith('-') ? '-- ' : ''}${shellWord(key)}`
}

/** To the second, in UTC. */
export function timeText(at: EpochMillis): string {
  return `${new Date(at).toISOString().slice(0, 19)}Z`
}

export function plural(count: number, one: string): string {
  return `${count} ${one}${count === 1 ? '' : 's'}`
}

/** Columns as wide as they need to be; the last one is not filled. */
export function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths: number[] = []
  for (const row of rows) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  return rows.map((row) =>
    row
      .map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
}
