/**
 * The address of the job that an answer speaks of, where it is not the job's answer itself but says where that will be. `Location` then names
 * the very job of `Spillway-Job`, with its secret. (A result may have a `Location` of the server's own; and a repeat of what was done long ago
 * is told where, although its status is that of the end.)
 */
export function jobUrlIn({ headers, url }: Response, asked: string, location = headers.get('location')): string | undefined {
  const id = headers.get('spillway-job')
  if (id === null || location === null) return undefined
  const job = new URL(location, url || asked)
  const [name, secret] = (job.pathname.split('/').pop() as string).split('.')
  return name === id && secret?.length === SECRET_LENGTH ? job.href : undefined
}

/** Of an answer that is under way (RFC 5989). */
export function liveJobUrlIn(response: Response, asked: string): string | undefined {
  const [, job = null] = /<([^>]*)\/result>; rel="monitor"/.exec(response.headers.get('link') ?? '') ?? []
  return jobUrlIn(response, asked, job)
}

/** 128 bits in base64url. */
const SECRET_LENGTH = 22
