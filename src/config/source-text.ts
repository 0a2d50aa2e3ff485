/** What binds a request, as it is written in a file. */
import type { BalanceSource } from './config.ts'

export function sourceText({ from, name }: BalanceSource): string {
  if (from === 'target') return 'path'
  return name === '' ? from : `${from}:${name}`
}
