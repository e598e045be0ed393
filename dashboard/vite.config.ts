import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The build is committed and compared by the gate, so it depends on nothing but the sources and
// the lock file: no dates, no paths, no source maps. Nothing is inlined: the policy of the server
// allows scripts and styles from files only.
export default defineConfig({
  plugins: [react()],
  base: "/",
  build: {
    outDir: "../src/stoker/server/static/dashboard",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    sourcemap: false,
    modulePreload: { polyfill: false },
    target: "es2022",
    chunkSizeWarningLimit: 600,
  },
  server: {
    proxy: { "/api": { target: "http://127.0.0.1:8000", changeOrigin: true } },
  },
  test: {
    environment: "happy-dom",
    include: ["tests/**/*.test.{ts,tsx}"],
  },
});
