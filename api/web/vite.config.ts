import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  build: {
    outDir: "dist",
    emptyOutDir: true,
    manifest: "manifest.json",
    assetsDir: ".",
    assetsInlineLimit: 0, // fonts inside CSS would need `font-src data:`
    target: "es2022", // older ones put helpers into the code MapLibre hands to its workers
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1200,
    rollupOptions: {
      input: ["map", "embed", "read", "runs"].flatMap((page) => [`src/${page}.ts`, `src/${page}.css`]),
    },
  },
});
