/**
 * The layers of `src/`, once: the lint configuration is generated from this list and written to `.oxlintrc.json`, where editors find it too.
 * A folder may import from itself and from the layers before it. Nothing else about imports needs to be remembered.
 */

/** From the bottom up. A name with `.ts` is a file in `src/`, the others are folders. */
export const LAYERS = [
  'lib',
  'core',
  'ports',
  'config',
  'telemetry',
  'http1',
  'net',
  'engines',
  'pools',
  'upstream',
  'jobs',
  'webhooks',
  'api',
  'gateway',
  'workers',
  'admin',
  'gateway-options.ts',
  'gateway.ts',
  'cli',
  'main.ts',
] as const

/** Folders whose plain data types the pure core may name (`import type`) although they stand above it: what it decides about. */
const CORE_MAY_NAME: readonly string[] = ['ports', 'config', 'http1']

/** What users take into their own programs: it stands alone. */
const STANDALONE = 'client'
/** The part of it that needs Node. The rest goes into browsers, too. */
const STANDALONE_NODE = 'worker'

/** Globals that would make the core depend on when and where it runs. */
const IMPURE_GLOBALS = [
  'Date',
  'performance',
  'process',
  'Buffer',
  'crypto',
  'fetch',
  'console',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'queueMicrotask',
]

const FOLDER_DEPTH_MAX = 4

type Rules = Record<string, unknown>
interface Override {
  readonly files: readonly string[]
  readonly rules: Rules
}

function layerPattern(layer: string): string {
  return layer.endsWith('.ts') ? `${layer.replace('.', '\\.')}$` : `${layer}/`
}

/** Import patterns that a file `depth` folders below `src/` must not use. Depth counts because `../jobs/` means another folder in `core/x/` than in `api/`. */
function restrictions(layer: string, depth: number, isTest: boolean): Rules {
  const up = '\\.\\./'.repeat(depth) || '\\./'
  const named = layer === 'core' ? CORE_MAY_NAME : []
  const layers: readonly string[] = LAYERS
  const above = layer === STANDALONE ? layers : [...layers.slice(layers.indexOf(layer) + 1), STANDALONE]
  const forbidden = above.filter((name) => !named.includes(name)).map(layerPattern)
  const patterns: unknown[] = [{ regex: `^${up}(${forbidden.join('|')})`, message: `src/${layer} must not import from a layer above it` }]
  if (named.length > 0) {
    const message = `src/${layer} may import from there only as a type`
    patterns.push({ regex: `^${up}(${named.map(layerPattern).join('|')})`, message, allowTypeImports: true })
  }
  if (!isTest) patterns.push({ regex: `^${up}\\.\\./(test|scripts|bench)/`, message: 'src must not import from outside src' })
  if (layer === STANDALONE && depth === 1 && !isTest) {
    patterns.push({ regex: '^[^.]', message: 'src/client goes into browsers: no node: modules, no packages' })
    patterns.push({ regex: `^\\./${STANDALONE_NODE}/`, message: `src/client goes into browsers: src/client/${STANDALONE_NODE} does not` })
  }
  if (layer === 'core' && !isTest) patterns.push({ regex: '^[^.]', message: 'src/core is pure: no node: modules, no packages' })
  return { 'no-restricted-imports': ['error', { patterns }] }
}

function layerOverrides(): Override[] {
  const overrides: Override[] = []
  for (const layer of [...LAYERS, STANDALONE]) {
    if (layer.endsWith('.ts')) {
      overrides.push({ files: [`src/${layer}`], rules: restrictions(layer, 0, false) })
      continue
    }
    for (let depth = 1; depth <= FOLDER_DEPTH_MAX; depth++) {
      const folder = `src/${layer}/${'*/'.repeat(depth - 1)}`
      overrides.push({ files: [`${folder}*.ts`], rules: restrictions(layer, depth, false) })
      overrides.push({ files: [`${folder}*.test.ts`], rules: restrictions(layer, depth, true) })
    }
  }
  return overrides
}

/** The whole lint configuration, as it stands in `.oxlintrc.json`. */
export function lintConfig(): Record<string, unknown> {
  return {
    $schema: './node_modules/oxlint/configuration_schema.json',
    plugins: ['typescript', 'unicorn', 'oxc', 'import', 'node'],
    categories: { correctness: 'error' },
    ignorePatterns: ['dist', 'data', 'docs/reference'],
    rules: {
      eqeqeq: 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'max-lines': ['error', { max: 600 }],
      'max-params': ['error', { max: 4 }],
      'import/no-cycle': 'error',
      'import/no-default-export': 'error',
      'oxc/no-barrel-file': 'error',
      'typescript/consistent-type-imports': 'error',
      'typescript/no-explicit-any': 'error',
      'typescript/no-floating-promises': [
        'error',
        { allowForKnownSafeCalls: [{ from: 'package', name: ['test', 'it', 'describe', 'suite'], package: 'node:test' }] },
      ],
      'typescript/no-misused-promises': 'error',
      'typescript/only-throw-error': 'error',
      'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      'no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // Numbers and lists in messages are fine; the types keep everything else out.
      'typescript/restrict-template-expressions': 'off',
      // A spread inside of a list groups its lines, and `new Array(n)` says what it makes.
      'unicorn/no-useless-spread': 'off',
      'unicorn/no-new-array': 'off',
      // A key of the configuration, and never a function.
      'unicorn/no-thenable': 'off',
    },
    overrides: [
      { files: ['src/**/*.ts'], rules: { 'max-lines-per-function': ['error', { max: 70 }] } },
      {
        files: ['src/core/**/*.ts'],
        rules: {
          'no-restricted-globals': ['error', ...IMPURE_GLOBALS],
          'no-restricted-properties': ['error', { object: 'Math', property: 'random' }],
        },
      },
      ...layerOverrides(),
      // A configuration module is loaded by its default export.
      { files: ['examples/*.config.ts'], rules: { 'import/no-default-export': 'off' } },
      {
        files: ['**/*.test.ts'],
        rules: {
          'max-lines-per-function': 'off',
          'no-restricted-globals': 'off',
          'no-restricted-properties': 'off',
          'typescript/unbound-method': 'off',
          'typescript/require-array-sort-compare': 'off',
        },
      },
    ],
  }
}
