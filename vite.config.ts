// How the page in web/ is built: static files with relative addresses, so that they work from any folder of any server
// that sends the headers of isolation. `vite` and `vite preview` offer the same models as `gemma web`.

import { fileURLToPath } from 'node:url'
import {
  type BuildEnvironmentOptions,
  defineConfig,
  type Plugin,
  type UserConfig,
  type ViteDevServer,
} from 'vite'
import { createHandler, ISOLATION } from './src/page-server/page-server.node.ts'
import { MODELS_PREFIX, shareModels } from './src/page-server/shared-models.node.ts'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

/** The model that ships with the package lies where `gemma web` offers it, so that the package needs no second copy. */
const rolldownOptions: BuildEnvironmentOptions['rolldownOptions'] = {
  output: {
    assetFileNames: ({ names }) =>
      names.some((name) => name.endsWith('.gguf'))
        ? 'models/micro/[name][extname]'
        : 'assets/[name]-[hash][extname]',
    // scripts/check-web-size.ts counts kernels apart.
    chunkFileNames: ({ moduleIds }) =>
      moduleIds.some((id) => id.endsWith('.wgsl.ts'))
        ? 'assets/kernels-webgpu-[hash].js'
        : 'assets/[name]-[hash].js',
  },
}

/** Answers for addresses of models as `gemma web` does. */
function models(): Plugin {
  const serve = async ({ middlewares }: Pick<ViteDevServer, 'middlewares'>): Promise<void> => {
    const handle = createHandler({ folder: here('web'), models: await shareModels([]), host: 'localhost' })
    middlewares.use((request, response, next) => {
      if (request.url?.startsWith(MODELS_PREFIX)) handle(request, response).catch(next)
      else next()
    })
  }
  return { name: 'models', configureServer: serve, configurePreviewServer: serve }
}

const config: UserConfig = defineConfig({
  root: here('web'),
  base: './',
  plugins: [models()],
  build: {
    outDir: here('dist/web'),
    emptyOutDir: true,
    target: 'es2022',
    // Small kernels stay files: WebAssembly compiles while it arrives, and may not come from a data: address under a policy.
    assetsInlineLimit: 0,
    rolldownOptions,
  },
  worker: { format: 'es', rolldownOptions },
  server: { headers: ISOLATION },
  preview: { headers: ISOLATION },
})

export default config
