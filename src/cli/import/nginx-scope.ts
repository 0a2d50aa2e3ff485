/** Which directives hold where, in the blocks of nginx within each other. */
import type { Directive } from './nginx-parse.ts'

/** What holds in a block, with the blocks around it. */
export interface Scope {
  readonly outer: Scope | undefined
  readonly directives: readonly Directive[]
}

export interface Location {
  readonly directive: Directive
  readonly scope: Scope
}

/** Also those within others. */
export function locationsIn(outer: Scope): Location[] {
  return outer.directives
    .filter(({ name }) => name === 'location')
    .flatMap((directive) => {
      const scope: Scope = { outer, directives: directive.block ?? [] }
      return [{ directive, scope }, ...locationsIn(scope)]
    })
}

/** Those of the innermost block that has any. */
export function nearest(scope: Scope, name: string): readonly Directive[] {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
    const found = at.directives.filter((directive) => directive.name === name)
    if (found.length > 0) return found
  }
  return []
}

/** The first one, of all blocks around. */
export function effective(scope: Scope, fits: (directive: Directive) => boolean): Directive | undefined {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.outer) {
    const found = at.directives.find(fits)
    if (found !== undefined) return found
  }
  return undefined
}

/** The block of the server that a location stands in; of a server itself. */
export function serverScope(scope: Scope): Scope {
  let at = scope
  while (at.outer?.outer !== undefined) at = at.outer
  return at
}
