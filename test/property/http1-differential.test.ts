/**
 * The gateway's reading of HTTP/1.1 against Node's: thousands of spoiled requests through both, and through the gateway to a server.
 * SEED repeats a run; SOAK=1 makes it long.
 */
import assert from 'node:assert/strict'
import { METHODS } from 'node:http'
import { suite, test } from 'node:test'
import { FULL, sized } from '../soak/form.ts'
import { startGatewayRig } from '../support/gateway-rig.ts'
import { SeededRandom, seedOf } from '../support/seeded-random.ts'
import { compare, type Discrepancy, KNOWN, knownDifference } from './http1-comparison.ts'
import { exchange, expectedAnswers, forwardingFault, type Origin, startMeddler, startOrigin } from './http1-forwarding.ts'
import { gatewayReader, nodeReader, type Reader, type Reading } from './http1-readers.ts'
import { cutUp, makeStream } from './request-generator.ts'

/** The short form shows what a change broke; what nobody has met before is for the long one to find. */
const SEED = FULL ? seedOf() : seedOf({ SEED: '20', ...process.env })
const CASES = sized([200_000, 6_000])
const FORWARDED = sized([30_000, 1_500])
/** A lenient reader is caught much earlier. */
const CANARY_CASES = 60_000

const readByNode = nodeReader()
const readByUs = gatewayReader()

async function discrepancy(reader: Reader, pieces: readonly Buffer[]): Promise<Discrepancy | undefined> {
  const found = compare(await reader(pieces), await readByNode(pieces))
  return found === undefined || knownDifference(found, Buffer.concat(pieces).toString('latin1')) !== undefined ? undefined : found
}

/** The same fault with as few bytes as can be had by leaving out pieces. For people. */
async function shortest(reader: Reader, bytes: Buffer): Promise<Buffer> {
  let short = bytes
  for (let size = short.length >> 1; size > 0; size >>= 1) {
    for (let at = 0; at < short.length; ) {
      const less = Buffer.concat([short.subarray(0, at), short.subarray(at + size)])
      if ((await discrepancy(reader, [less])) === undefined) at += size
      else short = less
    }
  }
  return short
}

/** What the cases were like, so that nobody can be content with cases that say nothing. */
interface Sights {
  untouched: number
  spoiledAndTaken: number
  refused: number
  several: number
  chunked: number
  trailers: number
}

/** THE check of this file. Throws at the first discrepancy. */
async function assertAtLeastAsStrict(reader: Reader, cases: number): Promise<Sights> {
  const random = new SeededRandom(SEED)
  const sights: Sights = { untouched: 0, spoiledAndTaken: 0, refused: 0, several: 0, chunked: 0, trailers: 0 }
  for (let i = 0; i < cases; i++) {
    const { bytes, spoiled } = makeStream(random)
    const pieces = cutUp(bytes, random)
    const [ours, node] = [await reader(pieces), await readByNode(pieces)]
    see(sights, ours, spoiled.length > 0)
    const found = compare(ours, node)
    const known = found !== undefined && knownDifference(found, bytes.toString('latin1')) !== undefined
    if (found !== undefined && !known) {
      const told = { ours, node, bytes: bytes.toString('latin1'), shortest: (await shortest(reader, bytes)).toString('latin1'), spoiled }
      assert.fail(`SEED=${SEED}, case ${i}: ${found.kind} ${found.what}\n${JSON.stringify(told, null, 1)}`)
    }
    if (spoiled.length === 0)
      assert.equal(ours.refusal, '', `SEED=${SEED}, case ${i}: a good request was refused: ${JSON.stringify(bytes.toString('latin1'))}`)
  }
  return sights
}

function see(sights: Sights, { requests, refusal }: Reading, spoiled: boolean): void {
  if (!spoiled) sights.untouched++
  else if (refusal === '') sights.spoiledAndTaken++
  else sights.refused++
  const whole = requests.filter(({ complete }) => complete)
  if (whole.length > 1) sights.several++
  if (whole.some(({ headers, body }) => body !== '' && headers.some((text) => text.toLowerCase() === 'chunked'))) sights.chunked++
  if (whole.some(({ trailers }) => trailers.length > 0)) sights.trailers++
}

suite('the gateway is at least as strict as Node', () => {
  test(`whatever it takes for a request, Node takes for the same one: ${CASES} streams, cut at random`, async (t) => {
    const sights = await assertAtLeastAsStrict(readByUs, CASES)
    t.diagnostic(`figures: ${JSON.stringify(sights)}`)
    for (const [sight, share] of Object.entries({ untouched: 5, spoiledAndTaken: 10, refused: 4, several: 5, chunked: 10, trailers: 40 }))
      assert.ok(sights[sight as keyof Sights] > CASES / share, `SEED=${SEED}: too few ${sight}: ${JSON.stringify(sights)}`)
  })

  for (const known of KNOWN) {
    test(`known: ${known.name}`, async () => {
      const pieces = [Buffer.from(known.example, 'latin1')]
      const found = compare(await readByUs(pieces), await readByNode(pieces))
      assert.ok(found !== undefined, 'the two agree by now: this entry has to go')
      assert.equal(knownDifference(found, known.example), known)
    })
  }
})

// --- the rig can fail

function repaired(repair: (text: string) => string): Reader {
  return (pieces) => readByUs([Buffer.from(repair(Buffer.concat(pieces).toString('latin1')), 'latin1')])
}

/** Only the first head: bodies stay as they are. */
function inHead(repair: (head: string) => string): Reader {
  return repaired((text) => {
    const end = /\r?\n\r?\n/.exec(text)
    const at = end === null ? text.length : end.index + end[0].length
    return repair(text.slice(0, at)) + text.slice(at)
  })
}

function misread(change: (reading: Reading) => Reading): Reader {
  return async (pieces) => change(await readByUs(pieces))
}

/** Each is a mistake that a parser could make: what it would have misread is put right, or taken away, before or behind ours. */
const LENIENT: Readonly<Record<string, Reader>> = {
  'takes a bare LF for the end of a line': inHead((head) => head.replaceAll(/(?<!\r)\n/g, '\r\n')),
  'overlooks blanks before a colon': inHead((head) => head.replaceAll(/^([\w-]+)[ \t]+:/gm, '$1:')),
  'joins folded lines': inHead((head) => head.replaceAll(/\r\n[ \t]+/g, ' ')),
  'lets Transfer-Encoding outrank Content-Length': inHead((head) =>
    /^transfer-encoding:/im.test(head) ? head.replaceAll(/^content-length:.*\r\n/gim, '') : head,
  ),
  'lets the last of two lengths count': inHead((head) => head.replace(/^content-length:.*\r\n(?=[^]*^content-length:)/im, '')),
  'takes +5 for a length': inHead((head) => head.replace(/^(content-length: *)\+/im, '$1')),
  'takes anything with "chunked" in it for chunked': inHead((head) => head.replace(/^(transfer-encoding:).*chunked.*$/im, '$1 chunked')),
  'drops NULs': inHead((head) => head.replaceAll('\0', '')),
  'takes 0x5 for the size of a chunk': repaired((text) => text.replaceAll(/^0x([0-9a-f]+\r\n)/gim, '$1')),
  'overlooks a blank behind the size of a chunk': repaired((text) => text.replaceAll(/^([0-9a-f]+)[ \t]+\r\n/gim, '$1\r\n')),
  'ends a body one byte early': misread((reading) => ({
    ...reading,
    requests: reading.requests.map((request) => ({ ...request, body: request.body.slice(0, -1) })),
  })),
  'takes a second request for a part of the first': misread((reading) => ({ ...reading, requests: reading.requests.slice(0, 1) })),
  'reads a request out of a body': misread((reading) => ({
    ...reading,
    requests: reading.requests.flatMap((request) =>
      request.body.includes('/hidden') ? [request, { ...request, target: '/hidden' }] : [request],
    ),
  })),
}

suite('the comparison fails for a reader that', () => {
  for (const [name, reader] of Object.entries(LENIENT))
    test(name, () => assert.rejects(assertAtLeastAsStrict(reader, CANARY_CASES), /(?:refused|differs|more|lost) [^]*"shortest"/))
})

// --- as far as a server

/** `fault`: of the first case that has one, else ''. */
async function forward(port: number, origin: Origin, cases: number): Promise<{ fault: string; passed: number }> {
  const random = new SeededRandom(SEED)
  const from = origin.seen.length
  let passed = 0
  for (let i = 0, seenBefore = from; i < cases; i++) {
    const { bytes, spoiled } = makeStream(random)
    const pieces = cutUp(bytes, random)
    const understood = await readByUs(pieces)
    // Node's server would not know them.
    if (understood.requests.some(({ method }) => !METHODS.includes(method))) continue
    const told = `SEED=${SEED}, case ${i} (${spoiled.join(', ')}): ${JSON.stringify(bytes.toString('latin1'))}`
    try {
      const answers = await exchange(port, pieces, expectedAnswers(understood))
      const seen = origin.seen.slice(seenBefore)
      seenBefore = origin.seen.length
      passed += seen.length
      const fault = origin.refusals[0] === undefined ? forwardingFault(understood, answers, seen) : `Node refused it: ${origin.refusals[0]}`
      if (fault !== '') return { fault: `${fault}\n${told}`, passed }
    } catch (error) {
      return { fault: `${(error as Error).message}\n${told}`, passed }
    }
  }
  return { fault: '', passed }
}

suite('as far as the server', () => {
  test(`what is passed on is what was understood, request by request, and Node reads it so: ${FORWARDED} streams`, async () => {
    await using origin = await startOrigin()
    await using rig = await startGatewayRig([origin.port])
    const { fault, passed } = await forward(rig.port, origin, FORWARDED)
    assert.equal(fault, '')
    assert.ok(passed > FORWARDED / 2, `${passed} requests reached the server`)
  })

  const meddlers: Readonly<Record<string, (text: string) => string>> = {
    'lets a body become a request': (text) => text.replace(/^(content-length:) 3[0-9]\r/im, '$1 0\r'),
    'loses a trailer': (text) => text.replace(/^x-t:.*\r\n/im, ''),
    'loses a header': (text) => text.replace(/^cookie:.*\r\n/im, ''),
    'asks for something else': (text) => text.replace('/a/b?', '/a/c?'),
    'writes what Node refuses': (text) => text.replace(/^(x-a):/im, '$1 :'),
  }
  for (const [name, change] of Object.entries(meddlers)) {
    test(`the check fails for a gateway that ${name}`, async () => {
      await using origin = await startOrigin()
      await using meddler = await startMeddler(origin.port, change)
      await using rig = await startGatewayRig([meddler.port])
      const { fault } = await forward(rig.port, origin, 10_000)
      assert.match(fault, /the server saw|reached the server with another|Node refused it|was not answered|nobody asked/)
    })
  }
})
