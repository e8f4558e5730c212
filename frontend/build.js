/**
 * Builds client/ and element/ into the static files of the Django app: for each entry one minified
 * file that is whole by itself, its source map, and its types. esbuild bundles, and terser makes what
 * comes of it smaller still.
 *
 * `node build.js` writes them, `node build.js --check` fails if what is committed is not what the sources
 * build to. No file imports another: a storage that keeps only hashed names could not serve it.
 */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { build, transform } from "esbuild";
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";
import { minify } from "terser";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const STATIC = join(HERE, "../chatsessions/static/chatsessions");
/** What pages import: the names are documented in docs/page.md. */
const ENTRIES = { "chat-session": "element/chat-session.ts", client: "client/client.ts", texts: "element/texts.ts", widget: "element/widget.ts" };
/** What chat-session.js loads when there is something for it to show. */
const LAZY = { panels: "element/panels/panels.ts", markdown: "markdown/markdown.ts", highlight: "markdown/highlight.ts" };
/** Packages that are in the built files. */
const PACKAGES = ["marked", "highlight.js"];
const BUILT = /\.(js|js\.map|d\.ts|licenses\.txt)$/;
const NOTE = "Built by `make page`";
/** The syntax that is left as it is: that of ES2022. */
const ECMA = 2022;

/** A stylesheet is the text of its module. */
const stylesheets = {
  name: "stylesheets",
  setup: ({ onLoad }) =>
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true });
      return { contents: code.trim(), loader: "text" };
    }),
};

async function scripts() {
  const { outputFiles } = await build({
    absWorkingDir: HERE,
    entryPoints: { ...ENTRIES, ...LAZY },
    outdir: STATIC,
    write: false,
    bundle: true,
    minify: true,
    sourcemap: "external",
    format: "esm",
    target: `es${ECMA}`,
    charset: "utf8",
    // The source maps name the packages' files in node_modules, wherever that directory is a link to.
    preserveSymlinks: true,
    plugins: [stylesheets],
  });
  const texts = new Map(outputFiles.map(({ path, text }) => [basename(path), text]));
  const names = [...texts.keys()].filter((name) => name.endsWith(".js"));
  return (await Promise.all(names.map((name) => smaller(name, texts.get(name), texts.get(`${name}.map`))))).flat();
}

async function smaller(name, script, sourceMap) {
  const { code, map } = await minify(script, {
    module: true,
    ecma: ECMA,
    compress: { passes: 3, hoist_funs: true },
    format: { preamble: `// ${NOTE}` },
    sourceMap: { content: sourceMap, includeSources: true, filename: name, url: `${name}.map` },
  });
  return [[name, code], [`${name}.map`, map]];
}

async function types() {
  const paths = Object.fromEntries(Object.entries(ENTRIES).map(([name, path]) => [join(HERE, path), `./${name}.js`]));
  return Promise.all(
    Object.entries(ENTRIES).map(async ([name, path]) => {
      const input = join(HERE, path);
      // What another entry exports is imported from it, as types are; no script imports another.
      const external = (id, from) => from !== undefined && resolve(dirname(from), id) !== input && resolve(dirname(from), id) in paths;
      const bundle = await rollup({ input, external, plugins: [dts({ tsconfig: join(HERE, "tsconfig.json") })] });
      const { output } = await bundle.generate({ paths });
      return [`${name}.d.ts`, `// ${NOTE}\n${output[0].code}`];
    }),
  );
}

async function licenses() {
  const texts = PACKAGES.map(async (name) => {
    const { version } = JSON.parse(await readFile(join(HERE, "node_modules", name, "package.json"), "utf8"));
    const files = (await readdir(join(HERE, "node_modules", name))).filter((file) => /^licen[cs]e/i.test(file));
    return `${name} ${version}\n\n${await readFile(join(HERE, "node_modules", name, files[0]), "utf8")}`;
  });
  return [["third-party.licenses.txt", `${(await Promise.all(texts)).map((text) => text.trim()).join(`\n\n${"-".repeat(80)}\n\n`)}\n`]];
}

const built = new Map([...(await scripts()), ...(await types()), ...(await licenses())]);
const committed = (await readdir(STATIC)).filter((name) => BUILT.test(name));

if (process.argv.includes("--check")) {
  const stale = [];
  for (const name of new Set([...committed, ...built.keys()])) {
    const text = committed.includes(name) ? await readFile(join(STATIC, name), "utf8") : undefined;
    if (text !== built.get(name)) stale.push(name);
  }
  if (stale.length) {
    console.error(`Not what frontend/ builds to: ${stale.join(", ")} in ${STATIC}. Run \`make page\`, and commit.`);
    process.exit(1);
  }
} else {
  for (const name of committed) if (!built.has(name)) await rm(join(STATIC, name));
  for (const [name, text] of built) await writeFile(join(STATIC, name), text);
}
