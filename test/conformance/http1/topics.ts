/** All cases, by topic. */
import { ANSWERS } from './answers.ts'
import type { Case } from './case.ts'
import { CHUNKED } from './chunked.ts'
import { CONNECTIONS } from './connections.ts'
import { CONTENT_LENGTH } from './content-length.ts'
import { EXPECT_AND_1XX } from './expect.ts'
import { FIELDS } from './fields.ts'
import { HOP_BY_HOP } from './hop-by-hop.ts'
import { HTTP_1_0 } from './http-1-0.ts'
import { METHODS } from './methods.ts'
import { PASS_THROUGH } from './pass-through.ts'
import { REQUEST_LINE } from './request-line.ts'
import { RETRIES } from './retries.ts'
import { STATUSES } from './statuses.ts'
import { TARGETS_AND_HOST } from './targets.ts'
import { TRAILERS } from './trailers.ts'
import { TRANSFER_ENCODING } from './transfer-encoding.ts'
import { UPGRADE } from './upgrade.ts'
import { VIA_AND_FORWARDED } from './via-and-forwarded.ts'

export interface Topic {
  readonly title: string
  readonly cases: readonly Case[]
}

export const TOPICS: readonly Topic[] = [
  { title: 'The request line', cases: REQUEST_LINE },
  { title: 'Targets and Host', cases: TARGETS_AND_HOST },
  { title: 'Fields', cases: FIELDS },
  { title: 'Content-Length', cases: CONTENT_LENGTH },
  { title: 'Transfer-Encoding and smuggling', cases: TRANSFER_ENCODING },
  { title: 'Chunks', cases: CHUNKED },
  { title: 'Trailers', cases: TRAILERS },
  { title: 'Connections', cases: CONNECTIONS },
  { title: 'Expect and informational answers', cases: EXPECT_AND_1XX },
  { title: 'Answers of servers', cases: ANSWERS },
  { title: 'What ends at each hop', cases: HOP_BY_HOP },
  { title: 'What goes on untouched', cases: PASS_THROUGH },
  { title: 'Via, Forwarded, X-Forwarded-*', cases: VIA_AND_FORWARDED },
  { title: 'Methods', cases: METHODS },
  { title: 'Sending again', cases: RETRIES },
  { title: 'Upgrade and WebSocket', cases: UPGRADE },
  { title: 'HTTP/1.0 on either side', cases: HTTP_1_0 },
  { title: 'Status codes and errors of the gateway', cases: STATUSES },
]
