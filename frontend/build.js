/**
 * Builds src/ into the static files of the Django app: one file per entry, each whole by itself.
 *
 * `node build.js` writes them, `node build.js --check` fails if what is committed is not what src/ builds to.
 * No file imports another: a storage that keeps only hashed names could not serve it.
 */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const STATIC = join(HERE, "../chatsessions/static/chatsessions");
/** What pages import: the names are documented in docs/page.md. */
const ENTRIES = ["chat-session.js", "client.js", "texts.js"];

const { outputFiles } = await build({
  absWorkingDir: HERE,
  entryPoints: ENTRIES.map((name) => `src/${name}`),
  outdir: STATIC,
  write: false,
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  loader: { ".css": "text" },
  banner: { js: "// Built from frontend/src by `make page`. Edit that, not this." },
});
const built = new Map(outputFiles.map(({ path, text }) => [basename(path), text]));
const committed = (await readdir(STATIC)).filter((name) => name.endsWith(".js"));

if (process.argv.includes("--check")) {
  const names = new Set([...committed, ...built.keys()]);
  const stale = [];
  for (const name of names) {
    const text = committed.includes(name) ? await readFile(join(STATIC, name), "utf8") : undefined;
    if (text !== built.get(name)) stale.push(name);
  }
  if (stale.length) {
    console.error(`Not what frontend/src builds to: ${stale.join(", ")} in ${STATIC}. Run \`make page\`, and commit.`);
    process.exit(1);
  }
} else {
  for (const name of committed) if (!built.has(name)) await rm(join(STATIC, name));
  for (const [name, text] of built) await writeFile(join(STATIC, name), text);
}
