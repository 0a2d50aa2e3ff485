/** `spillway --to URL --queue 'POST /reports'`: a gateway in front of your app, from arguments alone. */
import type { LoadResult } from '../../config/load.ts'
import { loadValue } from '../../config/load.ts'
import type { Arguments, Command } from '../command.ts'
import { EXIT } from '../command.ts'
import { tell } from '../config-argument.ts'
import { serve } from '../serve.ts'

export const toCommand: Command = {
  name: '',
  positionals: [],
  summary: 'Run a gateway in front of your app, without a file.',
  details: "Example: spillway --to http://localhost:3000 --queue 'POST /reports'",
  options: {
    to: { type: 'string', multiple: true, value: 'URL', help: 'a server, such as http://localhost:3000' },
    queue: { type: 'string', multiple: true, value: 'MATCH', help: "a route whose requests are stored first, such as 'POST /reports'" },
    spill: { type: 'string', multiple: true, value: 'MATCH', help: 'a route whose requests are stored when no server has capacity' },
    listen: { type: 'string', value: 'ADDRESS', help: 'where clients connect (default: 127.0.0.1:8080)' },
    admin: { type: 'string', value: 'ADDRESS', help: 'health, metrics and status (default: 127.0.0.1:9900)' },
    data: { type: 'string', value: 'FOLDER', help: 'where jobs are kept (default: ./data)' },
  },
  async run(args, io) {
    const config = tell(configFromArguments(args), io)
    return config === undefined ? EXIT.usage : await serve(config, io)
  },
}

function configFromArguments(args: Arguments): LoadResult {
  const [queue, spill] = [args.texts('queue'), args.texts('spill')]
  const [listen, admin, data] = [args.text('listen'), args.text('admin'), args.text('data')]
  const isAll = (match: string): boolean => match.trim() === '/*'
  const value = {
    ...(listen !== undefined && { listeners: [listen] }),
    ...(admin !== undefined && { admin: { address: admin } }),
    ...(data !== undefined && { store: { path: data } }),
    pools: { app: [...args.texts('to')] },
    routes: [
      ...queue.map((match) => ({ match, mode: 'queue' })),
      ...spill.map((match) => ({ match, mode: 'spill' })),
      ...([...queue, ...spill].some(isAll) ? [] : [{ match: '/*' }]),
    ],
  }
  const result = loadValue(value, { file: 'spillway', folder: process.cwd() })
  return result.ok ? result : { ...result, errors: result.errors.map((line) => asArgument(line, queue.length)) }
}

/** Names the option instead of the key that was made from it. */
function asArgument(line: string, queues: number): string {
  return line
    .replace(/ {2}pools\.app(\[\d+\])? {2}/, '  --to  ')
    .replace(/ {2}routes\[(\d+)\]\S* {2}/, (_, index: string) => (Number(index) < queues ? '  --queue  ' : '  --spill  '))
    .replace(/ {2}listeners\[0\] {2}/, '  --listen  ')
    .replace(/ {2}admin\.address {2}/, '  --admin  ')
}
