/**
 * Paths that gateway and server might read differently are refused, not repaired: dot segments (also percent-encoded, also between
 * encoded slashes or before `;`, where some servers see them) and backslashes. All other paths go through as they came.
 */
import type { Failure } from '../errors.ts'
import { failure } from '../errors.ts'

const DOT_SEGMENT = /(?:^|\/|%2f|%5c)(?:\.|%2e){1,2}(?:$|[/;]|%2f|%5c|%3b)/i

/** Undefined: the path is fine. */
export function checkPath(path: string): Failure | undefined {
  if (path.includes('\\')) return failure('bad_path', 'the path has a backslash')
  if (!path.includes('.') && !path.includes('%')) return undefined
  return DOT_SEGMENT.test(path) ? failure('bad_path', 'the path has a "." or ".." segment') : undefined
}
