// Properties draw their cases from a fixed seed in CI, so that a run that fails fails again; elsewhere every run draws new
// ones, and PROPERTY_SEED repeats the one that a failure names.

import fc from 'fast-check'

const seed = process.env.PROPERTY_SEED ?? (process.env.CI ? '1' : undefined)
if (seed !== undefined) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(seed) })
