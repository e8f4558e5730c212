/** Puts the built client into client/dist/, for `npm pack` in client/. */
import { cp, mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await mkdir(here("client/dist"), { recursive: true });
for (const name of ["client.js", "client.js.map", "client.d.ts"]) await cp(here(`../chatsessions/static/chatsessions/${name}`), here(`client/dist/${name}`));
await cp(here("../LICENSE"), here("client/dist/LICENSE"));
