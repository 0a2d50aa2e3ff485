/** What is wrong with a configuration: plain data, and how it is told to the person who wrote the file. */

export type Path = readonly (string | number)[]

export interface Problem {
  readonly path: Path
  readonly message: string
  /** What was probably meant. */
  readonly suggestion?: string | undefined
  /** The key itself is wrong, not its value. */
  readonly onKey?: boolean
}

/** A line and column of the file, both from 1. */
export interface Place {
  readonly line: number
  readonly column: number
}

/** `routes[0].match.method` */
export function pathText(path: Path): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else if (/^[\w.-]+$/.test(step)) text += text === '' ? step : `.${step}`
    else text += `[${JSON.stringify(step)}]`
  }
  return text
}

/**
 * The same line without the values that it quotes: one of them may be a password in a URL, or a token where something else belongs. For what
 * goes further than to the person who wrote the file. Names of queues and pools stay.
 */
export function withoutValues(line: string): string {
  return line.replaceAll(/(?<!\b(?:queue|pool) )"(?:[^"\\]|\\.)*"/g, '"…"').replaceAll(/\bnot -?\d[\d.e+]*/g, 'not …')
}

/** `file:line:col  path  message  (did you mean …?)` */
export function problemText(file: string, place: Place | undefined, problem: Problem): string {
  const where = place === undefined ? file : `${file}:${place.line}:${place.column}`
  const suggestion = problem.suggestion === undefined ? '' : `(did you mean ${problem.suggestion}?)`
  return [where, pathText(problem.path), problem.message, suggestion].filter((part) => part !== '').join('  ')
}
