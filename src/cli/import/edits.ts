/** Changes of header fields in the order in which a program makes them, as what `headers` of a route says: `remove`, then `set`, then `add`. */
import { type EditedSide, isFieldText, wrongEditedName } from '../../core/actions/header-edits.ts'

/** How it was written, and its values as templates. */
interface Field {
  readonly name: string
  readonly values: readonly string[]
}

export class Edits {
  readonly #side: EditedSide
  /** By names in lower case. */
  readonly #removed = new Map<string, string>()
  readonly #set = new Map<string, Field>()
  readonly #added = new Map<string, Field>()

  constructor(side: EditedSide) {
    this.#side = side
  }

  copy(): Edits {
    const copy = new Edits(this.#side)
    for (const [key, name] of this.#removed) copy.#removed.set(key, name)
    for (const [key, field] of this.#set) copy.#set.set(key, field)
    for (const [key, field] of this.#added) copy.#added.set(key, field)
    return copy
  }

  /** Why it may not be changed; undefined: it may. */
  wrongName(name: string): string | undefined {
    const wrong = wrongEditedName(name, this.#side)
    return wrong === undefined ? undefined : `${name} cannot be changed here: it ${wrong}`
  }

  remove(name: string): void {
    const key = name.toLowerCase()
    this.#set.delete(key)
    this.#added.delete(key)
    this.#removed.set(key, name)
  }

  set(name: string, value: string): void {
    const key = name.toLowerCase()
    this.#removed.delete(key)
    this.#added.delete(key)
    this.#set.set(key, { name, values: [value] })
  }

  add(name: string, value: string): void {
    const key = name.toLowerCase()
    const present = this.#added.get(key)
    this.#added.set(key, { name: present?.name ?? name, values: [...(present?.values ?? []), value] })
  }

  /** What a route says below `headers` on this side; undefined: nothing is changed. */
  text(): string | undefined {
    const parts: string[] = []
    const fields = (map: ReadonlyMap<string, Field>): string =>
      [...map.values()]
        .map(({ name, values: [first = '', ...more] }) => {
          const value = more.length === 0 ? JSON.stringify(first) : `[${[first, ...more].map((each) => JSON.stringify(each)).join(', ')}]`
          return `${JSON.stringify(name)}: ${value}`
        })
        .join(', ')
    if (this.#set.size > 0) parts.push(`set: { ${fields(this.#set)} }`)
    if (this.#added.size > 0) parts.push(`add: { ${fields(this.#added)} }`)
    if (this.#removed.size > 0) parts.push(`remove: [${[...this.#removed.values()].map((name) => JSON.stringify(name)).join(', ')}]`)
    return parts.length === 0 ? undefined : `{ ${parts.join(', ')} }`
  }
}

/** What may stand in a configuration as the value of a field: what a server would get is what was written. */
export function isPlainValue(text: string): boolean {
  return isFieldText(text) && /^[\t\x20-\x7e]*$/.test(text)
}

/** Of a route. */
export function headersText(request: Edits, response: Edits): string | undefined {
  const parts = Object.entries({ request: request.text(), response: response.text() }).flatMap(([side, text]) =>
    text === undefined ? [] : [`${side}: ${text}`],
  )
  return parts.length === 0 ? undefined : `{ ${parts.join(', ')} }`
}
