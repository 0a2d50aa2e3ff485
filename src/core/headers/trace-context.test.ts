import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { acceptableRequestId, newRequestId } from './request-id.ts'
import { newTrace, parseTraceparent, traceparentText } from './trace-context.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'

for (const good of [
  `00-${TRACE}-${SPAN}-01`,
  `00-${TRACE}-${SPAN}-00`,
  `00-${TRACE}-${SPAN}-ff`,
  `cc-${TRACE}-${SPAN}-01`,
  `cc-${TRACE}-${SPAN}-01-what-comes`,
])
  test(`${good} counts`, () => assert.deepEqual(parseTraceparent(good)?.traceId, TRACE))

const BAD = [
  '',
  `ff-${TRACE}-${SPAN}-01`,
  `00-${TRACE}-${SPAN}-01-more`,
  `00-${TRACE}-${SPAN}-01.`,
  `cc-${TRACE}-${SPAN}-01.what`,
  `00-${'0'.repeat(32)}-${SPAN}-01`,
  `00-${TRACE}-${'0'.repeat(16)}-01`,
  `00-${TRACE.toUpperCase()}-${SPAN}-01`,
  `00-${TRACE}-${SPAN}-0`,
  `0-${TRACE}-${SPAN}-01`,
  `00-${TRACE.slice(1)}-${SPAN}-01`,
  ` 00-${TRACE}-${SPAN}-01`,
  `cc-${TRACE}-${SPAN}-01-${'x'.repeat(512)}`,
]
for (const bad of BAD) test(`${JSON.stringify(bad.slice(0, 80))} does not`, () => assert.equal(parseTraceparent(bad), undefined))

test('whatever the text: it says nothing, or what it says is written back as one that counts', () => {
  const hex = (n: number): fc.Arbitrary<string> => fc.stringMatching(new RegExp(`^[0-9a-f]{${n}}$`))
  const near = fc
    .tuple(hex(2), hex(32), hex(16), hex(2), fc.constantFrom('', '-', '-x', 'x'))
    .map(([v, t, p, f, more]) => `${v}-${t}-${p}-${f}${more}`)
  fc.assert(
    fc.property(fc.oneof(fc.string(), near), (text) => {
      const parsed = parseTraceparent(text)
      if (parsed === undefined) return
      assert.equal(text.split('-')[1], parsed.traceId)
      assert.deepEqual(parseTraceparent(traceparentText(parsed)), parsed)
    }),
  )
})

test('a new one counts', () => {
  const trace = newTrace(Buffer.from(Array.from({ length: 24 }, (_, i) => i)))
  assert.deepEqual(parseTraceparent(traceparentText(trace)), trace)
})

test('an id of a request: one value of plain characters, 128 of them and not 129', () => {
  for (const good of ['a', '0f-9_.~+/=:@Z', 'x'.repeat(128), newRequestId(Buffer.alloc(16, 7))])
    assert.equal(acceptableRequestId([good]), good)
  for (const bad of [[], [''], ['a', 'a'], ['x'.repeat(129)], ['a b'], ['a"'], ['a\r\nb'], ['ü'], ['a,b'], ['<script>']])
    assert.equal(acceptableRequestId(bad), undefined, JSON.stringify(bad))
})
