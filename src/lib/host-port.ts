/** A host and a port as one text, as in URLs and addresses: an IPv6 address stands in brackets, so that its end can be told from the port. */

export function hostText(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}

export function hostPortText({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${hostText(host)}:${port}`
}
