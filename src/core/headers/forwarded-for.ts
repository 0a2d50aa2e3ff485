/** Who is behind proxies, by what the trusted ones among them say in `X-Forwarded-For`. */

/** The nearest address that is not a trusted proxy's own: what stands before it anybody may have written. */
export function clientBehind(peer: string, fields: readonly string[], isTrusted: (address: string) => boolean): string {
  const hops = fields.flatMap((field) => field.split(',')).map((hop) => withoutPort(hop.trim()))
  let client = peer
  while (isTrusted(client)) {
    const before = hops.pop()
    if (before === undefined || before === '') return client
    client = before
  }
  return client
}

/** `1.2.3.4:5`, `[::1]:5` and `[::1]` are written, too. */
function withoutPort(hop: string): string {
  return /^\[([^\]]*)\](?::\d+)?$/.exec(hop)?.[1] ?? /^([^:]+):\d+$/.exec(hop)?.[1] ?? hop
}
