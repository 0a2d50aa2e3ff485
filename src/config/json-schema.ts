/** The schema of the configuration file as JSON Schema: for editors, for the reference page, and for suggestions. */
import * as z from 'zod'
import type { Path } from './problem.ts'
import { configSchema } from './schema.ts'

export interface JsonSchema {
  readonly type?: string
  readonly title?: string
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly maximum?: number
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly items?: JsonSchema
  readonly additionalProperties?: JsonSchema | boolean
  readonly anyOf?: readonly JsonSchema[]
}

let made: JsonSchema | undefined

export function configJsonSchema(): JsonSchema {
  made ??= z.toJSONSchema(configSchema, { io: 'input', reused: 'inline' }) as JsonSchema
  return made
}

/** The forms that a value may have. */
export function formsOf(schema: JsonSchema): readonly JsonSchema[] {
  return schema.anyOf === undefined ? [schema] : schema.anyOf.flatMap(formsOf)
}

/** The keys that may stand in the mapping at this path. */
export function knownKeys(schema: JsonSchema, path: Path): readonly string[] {
  let forms = formsOf(schema)
  for (const step of path) {
    forms = forms.flatMap((form) => {
      const rest = typeof form.additionalProperties === 'object' ? form.additionalProperties : undefined
      const next = typeof step === 'number' ? form.items : (form.properties?.[step] ?? rest)
      return next === undefined ? [] : formsOf(next)
    })
  }
  return forms.flatMap((form) => Object.keys(form.properties ?? {}))
}
