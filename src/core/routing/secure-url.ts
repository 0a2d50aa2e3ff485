/** The same place with https. */

/** `host`: as it was asked for, with its port if it had one; both are known to be valid. */
export function secureUrl(host: string, target: string, port: number): string {
  const name = host.replace(/:\d*$/, '')
  return `https://${name}${port === 443 ? '' : `:${port}`}${target}`
}
