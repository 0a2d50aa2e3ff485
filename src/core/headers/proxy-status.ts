/** Proxy-Status (RFC 9209): which gateway failed, and how. Written here for every answer that is ours. */

const DETAILS_MAX = 200

/** `error`: a type of RFC 9209, section 2.3. */
export function proxyStatus(name: string, error: string, details?: string): string {
  const status = `${item(name)}; error=${error}`
  return details === undefined ? status : `${status}; details=${quoted(details.slice(0, DETAILS_MAX))}`
}

/** A token of RFC 8941 begins with a letter; what may be called so need not. */
function item(name: string): string {
  return /^[A-Za-z]/.test(name) ? name : quoted(name)
}

/** A string of RFC 8941: printable ASCII, quotes and backslashes escaped. */
function quoted(text: string): string {
  return `"${text.replaceAll(/[^\x20-\x7e]/g, '?').replaceAll(/["\\]/g, '\\$&')}"`
}
