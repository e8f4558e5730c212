/** Runs the tests in tests/js, or those named: bundled first, as node need not know TypeScript. */
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const TESTS = join(ROOT, "tests/js");

const named = process.argv.slice(2).map((path) => resolve(path));
const all = (await readdir(TESTS)).filter((name) => name.endsWith(".test.js")).map((name) => join(TESTS, name));
const entryPoints = named.length ? named : all;
const outdir = await mkdtemp(join(tmpdir(), "chatsessions-js-"));
try {
  await build({
    entryPoints,
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "es2022",
    sourcemap: "inline",
    logLevel: "warning",
  });
  const bundles = entryPoints.map((path) => join(outdir, basename(path).replace(/js$/, "mjs")));
  const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...bundles], { cwd: ROOT, stdio: "inherit" });
  process.exitCode = status ?? 1;
} finally {
  await rm(outdir, { recursive: true });
}
