/** What the reading of arguments adds to Node's own: options that may go without a value, and arguments that may be repeated. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Command, EXIT, helpText, readArguments } from './command.ts'
import { findCommand, groupHelpText } from './command-group.ts'

const command: Command = {
  name: 'jobs list',
  positionals: ['QUEUE', '[JOB…]'],
  summary: 'List.',
  options: {
    dead: { type: 'string', value: 'REASON', absent: { value: 'true', isValue: (next) => next === 'poison' }, help: 'dead letters' },
    json: { type: 'boolean', help: 'JSON' },
  },
  run: () => Promise.resolve(EXIT.ok),
}

function dead(...raw: readonly string[]): readonly [dead: string | undefined, positionals: readonly string[]] | string {
  const read = readArguments(command, raw)
  return typeof read === 'string' ? read : [read.text('dead'), read.positionals]
}

test('a value may be left out, stand behind =, or next where it is known to be one', () => {
  assert.deepEqual(dead('q', '--dead'), ['true', ['q']])
  assert.deepEqual(dead('--dead', 'q'), ['true', ['q']])
  assert.deepEqual(dead('--dead', 'poison', 'q'), ['poison', ['q']])
  assert.deepEqual(dead('--dead=other', 'q'), ['other', ['q']])
  assert.deepEqual(dead('--dead', '--json', 'q'), ['true', ['q']])
  assert.deepEqual(dead('q', '--', '--dead'), [undefined, ['q', '--dead']])
  assert.equal(dead('q', '--deat'), 'there is no option --deat (did you mean --dead?)')
})

test('the last argument may be repeated, the others may not be missing', () => {
  assert.deepEqual(dead('q', 'a', 'b', 'c'), [undefined, ['q', 'a', 'b', 'c']])
  assert.equal(dead(), 'QUEUE is missing')
})

test('help says which values may be left out', () => assert.match(helpText(command), /^ {2}--dead\[=REASON\] {2}dead letters$/m))

test('a group finds its commands, and falls back to one', () => {
  const group = { name: 'jobs', summary: 'Jobs.', commands: [command] }
  const found = (entry: Parameters<typeof findCommand>[0][number], ...words: readonly string[]): string => findCommand([entry], words).kind
  assert.equal(found(group, 'jobs', 'list', 'x'), 'command')
  assert.equal(found(group, 'jobs', '--help'), 'group')
  assert.equal(found(group, 'jobs'), 'unknown')
  assert.equal(found(group, 'jobs', '--json'), 'unknown')
  assert.equal(found({ ...group, fallback: command }, 'jobs'), 'command')
  assert.equal(found({ ...group, fallback: command }, 'jobs', '--json'), 'command')
  assert.equal(found({ ...group, fallback: command }, 'jobs', 'lst'), 'unknown')
  assert.match(groupHelpText({ ...group, fallback: command }), /spillway jobs alone is spillway jobs list\./)
})
