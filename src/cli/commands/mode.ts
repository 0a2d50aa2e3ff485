/** `spillway mode`: what a running gateway does with the requests of its routes, and an operator's switch for each. */
import { isMapping } from '../../lib/mapping.ts'
import { type Command, complain, EXIT } from '../command.ts'
import { listOf, textOf } from '../job-facts.ts'
import { connect, CONNECTION_DETAILS, CONNECTION_OPTIONS, JSON_OPTION } from '../queue-api.ts'
import { shown, table } from '../words.ts'

interface RouteFacts {
  readonly route: string
  readonly mode: string
  readonly serves: string
  readonly since: string
  readonly reason: string
}

const MODES = ['auto', 'queue', 'refuse']

export const modeCommand: Command = {
  name: 'mode',
  positionals: ['[ROUTE]', '[queue|refuse|auto]'],
  summary: 'What becomes of the requests of each route now; or switch one: everything into its queue, nothing at all, or as configured.',
  details: `A route is named as in its match: "POST /orders". queue: whatever may become a job waits, also while servers are free. refuse: everything is
answered with 503 and Retry-After. auto: as the configuration says. A switch holds over restarts, until it is switched again.
${CONNECTION_DETAILS}`,
  options: { ...CONNECTION_OPTIONS, json: JSON_OPTION },
  async run(args, io) {
    const [route, mode] = args.positionals
    if (mode !== undefined && !MODES.includes(mode)) {
      io.err(`spillway mode: the mode is queue, refuse or auto, not ${shown(mode)}; see: spillway help mode\n`)
      return EXIT.usage
    }
    const api = await connect(args, io, 'mode')
    if (api === undefined) return EXIT.usage
    const told = route !== undefined && mode !== undefined ? await api.post('routes/mode', { route, mode }) : await api.get('routes')
    if ('wrong' in told) return complain(io, 'mode', told.wrong)
    const { document } = told.value
    const all = mode === undefined ? listOf(document, 'routes', factsOf) : [factsOf(document)].flatMap((facts) => facts ?? [])
    const wanted = route === undefined ? all : all.filter((each) => each.route === route)
    if (route !== undefined && wanted.length === 0)
      return complain(io, 'mode', `no route is named ${shown(route)}; there are: ${all.map((each) => shown(each.route)).join(', ')}`)
    io.out(args.has('json') ? `${JSON.stringify({ routes: wanted }, undefined, 2)}\n` : routesText(wanted))
    return EXIT.ok
  },
}

function factsOf(value: unknown): RouteFacts | undefined {
  if (!isMapping(value)) return undefined
  const [route, mode, serves] = [textOf(value['route']), textOf(value['mode']), textOf(value['serves'])]
  if (route === undefined || mode === undefined || serves === undefined) return undefined
  return { route, mode, serves, since: textOf(value['since']) ?? '', reason: textOf(value['reason']) ?? '' }
}

function routesText(routes: readonly RouteFacts[]): string {
  const rows = routes.map(({ route, mode, serves, since, reason }) => {
    const why = reason === '' ? '' : `since ${since.slice(0, 19)}Z: ${reason}`
    return [shown(route), mode, serves, why]
  })
  return `${table([['ROUTE', 'MODE', 'NOW', ''], ...rows]).join('\n')}\n`
}
