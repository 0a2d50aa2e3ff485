/**
 * Which certificates a client is shown, by the name that it asks for (SNI, RFC 6066) and the names in the certificates (RFC 9525): exact before
 * wildcard, a wildcard stands for exactly one label. Certificates for the same name with keys of different kinds are shown together: the
 * handshake takes the one that the client understands.
 */

export interface NamedCertificate {
  /** DNS names as the certificate has them. */
  readonly names: readonly string[]
  /** `rsa`, `ec` …: of one kind only the first counts. */
  readonly keyKind: string
}

/** Places in the list of certificates, in their order. */
export type Shown = readonly number[]

export class ServerNames {
  readonly #exact = new Map<string, number[]>()
  /** By what follows the first label, with its dot. */
  readonly #wildcards = new Map<string, number[]>()

  constructor(certificates: readonly NamedCertificate[]) {
    for (const [i, { names }] of certificates.entries()) {
      for (const name of new Set(names.map(plainName))) {
        const [map, key] = name.startsWith('*.') ? [this.#wildcards, name.slice(1)] : [this.#exact, name]
        const before = map.get(key) ?? []
        if (before.some((other) => certificates[other]?.keyKind === certificates[i]?.keyKind)) continue
        map.set(key, [...before, i])
      }
    }
  }

  /** Undefined: no certificate has this name. */
  find(asked: string): Shown | undefined {
    const name = plainName(asked)
    const exact = this.#exact.get(name)
    if (exact !== undefined) return exact
    const dot = name.indexOf('.')
    return dot > 0 ? this.#wildcards.get(name.slice(dot)) : undefined
  }
}

/** DNS compares without case, and the root's dot says nothing. */
function plainName(name: string): string {
  const lower = name.toLowerCase()
  return lower.endsWith('.') ? lower.slice(0, -1) : lower
}
