/**
 * The rules of a section of HAProxy as rules that say for whom they hold, the last one first: what a line changes, it changes for the rules behind it;
 * what it answers, it answers before them.
 */
import { type Draft, type DraftMatch, type DraftRoute, matchOf, refused, type SourceLine } from './draft.ts'
import { Edits, headersText } from './edits.ts'
import { type AclContext, type Condition, conditionsOf, withoutCondition } from './haproxy-acl.ts'
import { actionOf, type Change, type Changed } from './haproxy-actions.ts'
import type { Statement } from './haproxy-parse.ts'
import { leftReason, needlessReason } from './haproxy-words.ts'
import { answered } from './nginx-values.ts'
import { pathsOf } from './nginx-words.ts'
import { needed, restricted } from './rules.ts'

export interface Target {
  /** Undefined: of the rule that leads there. */
  readonly source: SourceLine | undefined
  readonly off: string | undefined
  /** What a route says without its changes. */
  readonly keys: DraftRoute['keys']
  readonly isAsking: boolean
  /** In the order in which they are made. */
  readonly request: readonly Change[]
  readonly response: readonly Change[]
}

export interface Rule {
  readonly match: DraftMatch
  readonly target: Target
}

export function fixedTarget(source: SourceLine, keys: DraftRoute['keys']): Target {
  return { source, off: undefined, keys, isAsking: false, request: [], response: [] }
}

export function refusedTarget(source: SourceLine, reason: string): Target {
  return { ...fixedTarget(source, []), ...refused(reason) }
}

/** What `use_backend` and the like lead to, for those who take it. */
type RulesOf = (name: string, source: SourceLine) => readonly Rule[]

interface Step {
  readonly line: Statement
  readonly conditions: readonly Condition[]
  readonly action:
    | Exclude<ReturnType<typeof actionOf>, { kind: 'left' | 'response' }>
    | { readonly kind: 'refuse'; readonly reason: string }
    | { readonly kind: 'use' }
}

export class SectionRules {
  readonly #draft: Draft
  readonly #context: AclContext
  readonly #changed: Set<string>
  readonly #use: RulesOf

  /** `changed`: what was changed before the section is come to. */
  constructor(draft: Draft, context: AclContext, { changed, use }: { readonly changed: ReadonlySet<string>; readonly use: RulesOf }) {
    this.#draft = draft
    this.#context = context
    this.#changed = new Set(changed)
    this.#use = use
  }

  /** What is another thing behind the section. */
  get changed(): ReadonlySet<string> {
    return this.#changed
  }

  /** `last`: what happens to everybody else. Undefined: it cannot be said as routes. */
  rulesOf(lines: readonly Statement[], last: (changed: ReadonlySet<string>) => readonly Rule[]): readonly Rule[] | undefined {
    const response: Change[] = []
    const steps = (words: RegExp): Step[] =>
      lines.filter(({ words: [word = ''] }) => words.test(word)).flatMap((line) => this.#step(line, response) ?? [])
    // In the order in which HAProxy comes to them.
    const first = [...steps(/^monitor-uri$/), ...steps(/^tcp-request$/), ...steps(/^(http-request|block)$/)]
    const second = [...steps(/^redirect$/), ...steps(/^http-(after-)?response$/)]
    const third = [...steps(/^use_backend$/), ...steps(/^(use-server|force-persist|ignore-persist|req[a-z]+)$/)]
    const behind = this.#before([...second, ...third], last(this.#changed), undefined)
    const rules = behind && this.#before(first, behind, behind)
    return rules?.map((rule) => ({ ...rule, target: withResponse(rule.target, response) }))
  }

  /** Undefined: it is noted, and nothing comes of it. */
  #step(line: Statement, response: Change[]): Step | undefined {
    const { words, condition } = withoutCondition(line.words)
    if (needlessReason(line) !== undefined) {
      this.#draft.needless(line, needlessReason(line) ?? '')
      return undefined
    }
    const conditions = this.#conditions(condition)
    if (words[0] === 'use_backend') return this.#answering(line, conditions, { kind: 'use' })
    if (words[0] === 'tcp-request' && !/^(reject|silent-drop)/.test(words[2] ?? '')) return this.#left(line)
    if (words[0] === 'monitor-uri') return this.#monitored(line)
    const action = actionOf(words)
    if (action.kind === 'left')
      return action.isClosing ? this.#answering(line, conditions, { kind: 'refuse', reason: leftReason(line) }) : this.#left(line)
    if (action.kind === 'response') {
      // A condition is looked at when the answer is there, and sees nothing of the request.
      if (condition.length > 0) return this.#left(line)
      response.push(action.change)
      return undefined
    }
    const strange = this.#changedIn(words.join(' '))
    if (action.kind !== 'request')
      return this.#answering(line, conditions, strange === undefined ? action : { kind: 'refuse', reason: strange })
    if (strange !== undefined && !action.change.names.includes('path')) {
      this.#draft.left(line, strange)
      return undefined
    }
    if (typeof conditions === 'string') {
      this.#draft.left(line, conditions)
      // Where it is not known whose path is another one, nobody's way is known.
      return action.change.names.includes('path') ? { line, conditions: [ALL], action: { kind: 'refuse', reason: conditions } } : undefined
    }
    if (action.change.names.includes('path') && this.#changed.has('path'))
      return this.#answering(line, [ALL], { kind: 'refuse', reason: 'a path is changed once here' })
    this.#differs(line, conditions)
    for (const name of action.change.names) this.#changed.add(name)
    return { line, conditions, action }
  }

  /** Values are made of what came here, whatever was changed before. */
  #changedIn(text: string): string | undefined {
    const isPath = this.#changed.has('path') && /%\[(path|url|capture)|%H[PU]/.test(text)
    const isHost = this.#changed.has('host') && /%\[(req\.)?hdr\(host\)/i.test(text)
    return isPath || isHost ? `it tells of the ${isPath ? 'path' : 'host'} after a line that changes it` : undefined
  }

  #left(line: Statement): undefined {
    this.#draft.left(line, leftReason(line))
    return undefined
  }

  /** The gateway answers there, as HAProxy does. */
  #monitored(line: Statement): Step | undefined {
    const path = line.words[1] ?? ''
    if (pathsOf(path, true) === undefined) return this.#left(line)
    const conditions = [{ ...ALL, matches: [matchOf(undefined, path)] }]
    return { line, conditions, action: { kind: 'answer', keys: answered(200, undefined) } }
  }

  #differs(line: Statement, conditions: readonly Condition[]): void {
    for (const differs of conditions.flatMap((each) => each.differs)) this.#draft.left(line, differs)
  }

  /** Where it cannot be said to whom it applies, that may be everybody. */
  #answering(line: Statement, conditions: readonly Condition[] | string, action: Step['action']): Step {
    if (action.kind === 'refuse') this.#draft.left(line, `${action.reason}; what it applies to is refused`)
    if (typeof conditions !== 'string') {
      this.#differs(line, conditions)
      return { line, conditions, action }
    }
    this.#draft.left(line, `${conditions}; it may be about any request, so that all are refused`)
    return { line, conditions: [ALL], action: { kind: 'refuse', reason: conditions } }
  }

  /** None that looks at what an earlier line has changed: routes look at what came. */
  #conditions(words: readonly string[]): readonly Condition[] | string {
    const conditions = conditionsOf(words, this.#context)
    if (typeof conditions === 'string') return conditions
    for (const { path, headers, host } of conditions.flatMap(({ matches, but }) => [...matches, ...but])) {
      const seen = [...Object.keys(headers), ...(path === '/*' ? [] : ['path']), ...(host === undefined ? [] : ['host'])]
      const strange = seen.find((name) => this.#changed.has(name))
      if (strange !== undefined) return `it looks at ${strange} after a line that changes it`
    }
    return conditions
  }

  /** The rules of the steps, before those behind them. `allowed`: what who is allowed goes on with. */
  #before(steps: readonly Step[], behind: readonly Rule[], allowed: readonly Rule[] | undefined): readonly Rule[] | undefined {
    let rules: readonly Rule[] | undefined = behind
    for (const step of steps.toReversed()) {
      for (const condition of step.conditions.toReversed()) {
        const own: readonly Rule[] | undefined = rules && this.#ownRules(step, condition, rules, allowed)
        // Who is excepted goes on as if the step were not there.
        const excepted: readonly Rule[] | undefined = rules && restricted(rules, condition.but)
        rules = own && excepted && rules && needed([...(condition.but.length > 0 ? excepted : []), ...own, ...rules])
        if (rules !== undefined && rules.length > RULES_MAX) return undefined
      }
    }
    return rules
  }

  #ownRules(
    { line, action }: Step,
    { matches }: Condition,
    rules: readonly Rule[],
    allowed: readonly Rule[] | undefined,
  ): readonly Rule[] | undefined {
    const to = (target: Target): readonly Rule[] => matches.map((match) => ({ match, target }))
    if (action.kind === 'answer') return to(fixedTarget(line, action.keys))
    if (action.kind === 'refuse') return to(refusedTarget(line, action.reason))
    if (action.kind === 'allow') return restricted(allowed ?? rules, matches)
    if (action.kind === 'use') return restricted(this.#use(line.words[1] ?? '', line), matches)
    const { change } = action
    const below =
      change.below === undefined ? matches : restricted([{ match: matchOf(undefined, change.below) }], matches)?.map(({ match }) => match)
    const own = below && restricted(rules, below)
    return own?.map((rule) =>
      rule.target.isAsking ? { ...rule, target: { ...rule.target, request: [change, ...rule.target.request] } } : rule,
    )
  }
}

const ALL: Condition = { matches: [matchOf(undefined, '/*')], but: [], differs: [] }
const RULES_MAX = 1000

function withResponse(target: Target, response: readonly Change[]): Target {
  const own = target.isAsking ? response : target.off === undefined ? response.filter(({ isOfAll }) => isOfAll === true) : []
  return own.length === 0 ? target : { ...target, response: [...target.response, ...own] }
}

/** What a route says, with everything that is changed on the way. */
export function keysOf({ keys, request, response, isAsking }: Target): DraftRoute['keys'] {
  const changed: Changed = { request: new Edits('request'), response: new Edits('response'), rewrite: new Map() }
  for (const { apply } of [...request, ...response]) apply(changed)
  const [first, ...others] = keys
  const rewrite = [...changed.rewrite].map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join(', ')
  const headers = headersText(changed.request, changed.response)
  return [
    ...(first === undefined ? [] : [first]),
    ...(isAsking && rewrite !== '' ? [['rewrite', `{ ${rewrite} }`] as const] : []),
    ...(headers === undefined ? [] : [['headers', headers] as const]),
    ...others,
  ]
}
