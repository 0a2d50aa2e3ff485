/** Reads values out of Prometheus text. */

/** Sum over the samples of a name whose labels include all of `labels` (`queue="work"`); 0 when there is none. */
export function metricSum(text: string, name: string, ...labels: readonly string[]): number {
  let sum = 0
  for (const line of text.split('\n')) {
    if (!line.startsWith(name)) continue
    const end = line.lastIndexOf(' ')
    const inBraces = line.slice(name.length, end)
    const isName = inBraces === '' || inBraces.startsWith('{')
    if (isName && labels.every((label) => inBraces.includes(label))) sum += Number(line.slice(end + 1))
  }
  return sum
}
