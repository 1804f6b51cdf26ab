import { defineConfig, type ViteUserConfig } from 'vitest/config'

const config: ViteUserConfig = defineConfig({
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    setupFiles: ['test/setup/seed.ts'],
    testTimeout: 400_000,
    hookTimeout: 400_000,
    pool: 'forks',
    // What .ci/run counts.
    ...(process.env.CI
      ? { reporters: ['default', 'json'], outputFile: { json: '.scratch/tests.json' } }
      : {}),
  },
})

export default config
