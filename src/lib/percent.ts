/** Shares as people write them: `20%`, `0.5%`. */

/** From 0 to 1. Undefined: not a share. */
export function parsePercent(text: string): number | undefined {
  const match = /^(\d{1,3}(?:\.\d{1,3})?)%$/.exec(text)
  const percent = Number(match?.[1])
  return percent <= 100 ? percent / 100 : undefined
}
