/** Keys and tenants as columns hold them. */

/**
 * A key as its column holds it. A half of a surrogate pair has no UTF-8, and SQLite would store every one of them as U+FFFD: two keys
 * for the ledger would be one in the database. Such keys are written as JSON behind that very character.
 */
export function keyColumn(key: string): string {
  return key.isWellFormed() && !key.startsWith('\ufffd') ? key : `\ufffd${JSON.stringify(key)}`
}

export function fromKeyColumn(column: string): string {
  return column.startsWith('\ufffd') ? (JSON.parse(column.slice(1)) as string) : column
}
