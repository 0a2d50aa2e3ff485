/** One request on a connection of its own, with the answer as it came over the wire; and a reader for streams of events. */
import { type IncomingMessage, request as httpRequest } from 'node:http'

export interface Answer {
  readonly status: number
  readonly reason: string
  readonly headers: IncomingMessage['headers']
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  readonly text: string
  json(): Record<string, unknown>
}

export interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>> | readonly string[]
  readonly body?: string | Uint8Array
  readonly signal?: AbortSignal
}

export async function ask(url: string, asked: Asked = {}): Promise<Answer> {
  const response = await open(url, asked)
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  const body = Buffer.concat(chunks)
  return {
    status: response.statusCode ?? 0,
    reason: response.statusMessage ?? '',
    headers: response.headers,
    rawHeaders: response.rawHeaders,
    body,
    text: body.toString(),
    json: () => JSON.parse(body.toString()) as Record<string, unknown>,
  }
}

/** Resolves with the head; the body is the caller's to read. */
export function open(url: string, asked: Asked = {}): Promise<IncomingMessage> {
  const { method = 'GET', headers = {}, body, signal } = asked
  return new Promise((resolve, reject) => {
    const options = { method, headers, agent: false, ...(signal === undefined ? {} : { signal }) }
    const request = httpRequest(url, options as Parameters<typeof httpRequest>[1], resolve)
    request.on('error', reject)
    request.end(body)
  })
}

/** The blocks of an event stream, or the lines of NDJSON, as they come; ends with the stream. */
export async function* blocks(response: IncomingMessage, separator: string): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of response) {
    const parts = (rest + String(chunk)).split(separator)
    rest = parts.pop() as string
    yield* parts
  }
  if (rest !== '') yield rest
}
