import { defineConfig } from 'vitest/config';

// What is built is committed and embedded in the hub, under a content security policy that allows the page's own files
// and nothing inline: so no data: URLs for scripts, no polyfill in a script tag, and no source maps.
export default defineConfig({
  build: {
    target: 'es2022',
    sourcemap: false,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    license: { fileName: 'licenses.md' },
  },
  worker: { format: 'es' },
  // For work on the page: `npx vite` beside a running `gadget local`.
  server: {
    proxy: {
      '/api': 'http://127.0.0.1:8420',
      '/socket.io': { target: 'http://127.0.0.1:8420', ws: true },
    },
  },
  test: { include: ['src/**/*.test.ts'] },
});
