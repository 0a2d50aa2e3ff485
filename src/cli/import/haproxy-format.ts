/** Texts of HAProxy with what a request is in them (`%[src]`), as templates. */
import { isPlainValue } from './edits.ts'

/** Without blanks. */
const SAMPLES: Readonly<Record<string, string>> = {
  src: '{client.address}',
  'req.hdr(host)': '{request.host}',
  'hdr(host)': '{request.host}',
  'req.hdr(host),lower': '{request.host}',
  'req.hdr(host),field(1,:)': '{request.hostname}',
  'hdr(host),field(1,:)': '{request.hostname}',
  'req.hdr(host),host_only': '{request.hostname}',
  path: '{request.path}',
  query: '{request.query}',
  method: '{request.method}',
  url: '{request.target}',
  pathq: '{request.target}',
  'capture.req.uri': '{request.target}',
  'capture.req.method': '{request.method}',
  'ssl_fc,iif(https,http)': '{request.scheme}',
}
const ALIASES: Readonly<Record<string, string>> = { ci: '{client.address}', HM: '{request.method}', HP: '{request.path}', '%': '%' }

/** Undefined: there is something in it that is not there. */
export function templateOfFormat(text: string): string | undefined {
  let isKnown = isPlainValue(text)
  const template = text.replaceAll(/%\[([^\]]*)\]|%([A-Za-z]+|%)?|[{}]/g, (found, sample?: string, alias?: string) => {
    if (found === '{' || found === '}') return found + found
    const key = (sample ?? '').replaceAll(/\s/g, '')
    const known = sample === undefined ? valueIn(ALIASES, alias ?? '') : valueIn(SAMPLES, key)
    isKnown &&= known !== undefined
    return known ?? ''
  })
  return isKnown ? template : undefined
}

function valueIn(table: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined
}
