/** Where things are on a gateway, from the one address that its user gives. */

const API_PATH = '/_spillway/api'

/** An address without a path is the gateway's; with one it is that of the API itself. */
export function apiUrlOf(address: string): string {
  const url = new URL(address)
  const path = url.pathname.replace(/\/+$/, '')
  return `${url.origin}${path === '' ? API_PATH : path}`
}

/** Beside the jobs. */
export function batchesUrlOf(jobsUrl: string): string {
  return `${jobsUrl.slice(0, jobsUrl.lastIndexOf('/'))}/batches`
}

/** Beside the API. */
export function jobsUrlOf(apiUrl: string): string {
  return `${apiUrl.slice(0, apiUrl.lastIndexOf('/'))}/jobs`
}
