import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import '../../../test/support/seed-fast-check.ts'
import { matchPattern, parsePattern, type PathPattern } from '../routing/pattern.ts'
import type { Rewrite } from './actions.ts'
import { editedFields, isFieldText, withoutFields, withoutLines, wrongEditedName } from './header-edits.ts'
import { locationOf, rewriteTarget } from './rewrite.ts'
import { expand, parseTemplate, type Template, templateText, variablesOf } from './template.ts'

function template(text: string): Template {
  const parsed = parseTemplate(text)
  if (typeof parsed === 'string') assert.fail(parsed)
  return parsed
}

test('a template is text and variables, and braces that are meant stand there twice', () => {
  const parsed = template('a{{b}}{id}-{request.path}{*}')
  assert.deepEqual(parsed.pieces, ['a{b}', { name: 'id' }, '-', { name: 'request.path' }, { name: '*' }])
  assert.equal(
    expand(parsed, (name) => `<${name}>`),
    'a{b}<id>-<request.path><*>',
  )
})

for (const text of ['{', '}', 'a{b', 'a}b', '{}', '{a b}', '{1}', '{a.b.c}', '{a{b}}', '{\r\n}'])
  test(`${JSON.stringify(text)} is no template`, () => assert.equal(typeof parseTemplate(text), 'string'))

test('whatever the text: it is refused, or it is read and written back the same, and no value is read as a variable', () => {
  const piece = fc.constantFrom('a', '{', '}', '{{', '}}', '{id}', '{*}', '{request.id}', '/', ' ', '\r\n', '%2F')
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((pieces) => pieces.join('')),
      ),
      (text) => {
        const parsed = parseTemplate(text)
        if (typeof parsed === 'string') return
        assert.equal(templateText(parsed), text)
        const count = variablesOf(parsed).length
        assert.equal(expand(parsed, () => '{id}').length, expand(parsed, () => '').length + 4 * count)
      },
    ),
  )
})

const EDITS = (lines: readonly (readonly [string, string])[]): Parameters<typeof editedFields>[0] => ({
  drop: new Set(),
  lines: lines.map(([name, text]) => [name, template(text)] as const),
})

test('no value breaks out of its line, whatever its variables stand for', () => {
  const evil = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.constantFrom('a\r\nX-Evil: 1', 'a\n', '\0', 'ü', '\u{1f600}', '\u010a'),
  )
  fc.assert(
    fc.property(evil, evil, (a, b) => {
      const fields = editedFields(
        EDITS([
          ['X-A', 'x{a}y{b}'],
          ['X-B', '{b}'],
        ]),
        (name) => (name === 'a' ? a : b),
      )
      for (const value of fields) {
        const written = Buffer.from(value, 'latin1').toString('latin1')
        assert.doesNotMatch(written, /[\r\n\0]/)
        assert.ok(isFieldText(value))
      }
    }),
    { numRuns: 500 },
  )
})

test('a field whose value comes out empty is left out', () => {
  assert.deepEqual(
    editedFields(
      EDITS([
        ['X-A', '{a}'],
        ['X-B', 'b'],
      ]),
      () => '',
    ),
    ['X-B', 'b'],
  )
})

for (const name of [
  'Connection',
  'content-length',
  'Transfer_Encoding',
  'TE',
  'Upgrade',
  'Via',
  'Trailer',
  'Spillway-Job',
  'spillway_key',
  'a b',
  'a:',
  '',
  'a\r\n',
]) {
  test(`nobody edits ${JSON.stringify(name)}`, () => {
    assert.equal(typeof wrongEditedName(name, 'request'), 'string')
    assert.equal(typeof wrongEditedName(name, 'response'), 'string')
  })
}

test('Host is for rewrite.host, Date is ours', () => {
  assert.match(wrongEditedName('Host', 'request') ?? '', /rewrite\.host/)
  assert.equal(wrongEditedName('Host', 'response'), undefined)
  assert.equal(typeof wrongEditedName('Date', 'response'), 'string')
  assert.equal(wrongEditedName('X-Forwarded-Proto', 'request'), undefined)
})

test('a name is dropped in any case, and spelled with _ as well', () => {
  const headers = ['X-User', 'a', 'x_user', 'b', 'X-Users', 'c', 'x-USER', 'd']
  assert.deepEqual(withoutFields(headers, new Set(['x-user'])), ['X-Users', 'c'])
})

test('lines and lists lose the same fields', () => {
  const name = fc.constantFrom('X-A', 'x-a', 'X_A', 'X-B', 'X-AB', 'Host')
  const field = fc.tuple(name, fc.stringMatching(/^[ -~]{0,10}$/))
  fc.assert(
    fc.property(fc.array(field), fc.subarray(['x-a', 'x-b', 'host', 'x_a']), (fields, dropped) => {
      const drop = new Set(dropped)
      const lines = fields.map(([key, value]) => `${key}: ${value}\r\n`).join('')
      const kept = withoutFields(fields.flat(), drop)
      let expected = ''
      for (let i = 0; i < kept.length; i += 2) expected += `${kept[i]}: ${kept[i + 1]}\r\n`
      assert.equal(withoutLines(lines, drop), expected)
    }),
  )
})

function rewritten(rewrite: Rewrite, pattern: string, target: string): ReturnType<typeof rewriteTarget> {
  const parsed = parsePattern(pattern) as PathPattern
  const path = target.split('?', 1)[0] as string
  const params = matchPattern(parsed, path.slice(1).split('/'))
  assert.ok(params !== undefined, `${path} matches ${pattern}`)
  return rewriteTarget(rewrite, { target, path, params, pattern: parsed })
}

const REWRITES: readonly (readonly [rewrite: Rewrite, pattern: string, target: string, expected: string | undefined])[] = [
  [{ strip: '/api' }, '/api/*', '/api/x/y?z=1', '/x/y?z=1'],
  [{ strip: '/api' }, '/api/*', '/api/', '/'],
  [{ strip: '/api' }, '/api', '/api?', '/?'],
  [{ strip: '/api', prefix: '/v2' }, '/api/*', '/api/x', '/v2/x'],
  [{ strip: '/api', prefix: '/v2' }, '/api', '/api', '/v2'],
  [{ prefix: '/v2' }, '/*', '/x', '/v2/x'],
  [{ path: template('/new/{id}') }, '/orders/{id}', '/orders/a%2Fb%20c?q=%2F', '/new/a%2Fb%20c?q=%2F'],
  [{ path: template('/new/{*}') }, '/old/*', '/old/a/b/', '/new/a/b/'],
  [{ path: template('/{b}/{a}') }, '/{a}/{b}', '/1/2', '/2/1'],
  [{ path: template('/x') }, '/*', '/a//b?c', '/x?c'],
  [{ host: 'inner' }, '/*', '//a', undefined],
  // A server that reads it as a URL would take it for a host.
  [{ strip: '/api' }, '/api/*', '/api//evil.example/x', '/evil.example/x'],
  [{ path: template('/{*}') }, '/old/*', '/old//evil.example', '/evil.example'],
]
for (const [rewrite, pattern, target, expected] of REWRITES) {
  const shown = JSON.stringify({ ...rewrite, ...(rewrite.path && { path: templateText(rewrite.path) }) })
  test(`${shown}: ${target} becomes ${expected}`, () => assert.equal(rewritten(rewrite, pattern, target), expected))
}

test('a rewrite cannot make dot segments of what was none', () => {
  const outcome = rewritten({ path: template('/a/..{x}') }, '/{x}', '/;y')
  assert.equal(typeof outcome === 'object' && outcome.code, 'bad_path')
})

test('whatever the path: what comes out is a path of the same octets with the query as it came, or refused', () => {
  const piece = fc.constantFrom('a', 'b', '/', '//', '%2f', '%2E', '%00', ';', '=', '.', '&', '%')
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), fc.constantFrom('', '?', '?a=%2f&b', '?a?b'), (pieces, query) => {
      const path = `/api/${pieces.join('')}`
      const outcome = rewritten({ strip: '/api' }, '/api/*', path + query)
      if (typeof outcome === 'object') return
      assert.equal(outcome, `/${path.slice(4).replace(/^\/+/, '')}${query}`)
    }),
  )
})

test('a redirect leads where it was written to lead', () => {
  const to = (text: string, value: string): string => locationOf({ kind: 'redirect', status: 308, to: template(text) }, () => value)
  assert.equal(to('https://www.example.com{request.target}', '/a?b'), 'https://www.example.com/a?b')
  assert.equal(to('{request.path}', '//evil.example/x'), '/evil.example/x')
  assert.equal(to('/{*}', '/evil.example'), '/evil.example')
  assert.equal(to('/{*}', '\\evil.example'), '/evil.example')
  assert.equal(to('//cdn.example.com/{id}', 'x'), '//cdn.example.com/x')
})
