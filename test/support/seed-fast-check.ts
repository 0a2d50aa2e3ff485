/** Imported for its effect: property tests repeat what SEED in the environment says. A failing one prints its seed by itself. */
import fc from 'fast-check'

const seed = process.env['SEED']
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) })
