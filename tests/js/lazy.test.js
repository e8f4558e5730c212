/** Files of the page that are loaded later. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { load } from "../../frontend/element/lazy.ts";

test("what could not be loaded can be later, though the engine remembers that it failed", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "chatsessions-"));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, "late.mjs");
  const address = pathToFileURL(path).href;
  await writeFile(path, "<!doctype html>"); // what a proxy says of a server that starts
  for (const _ of [1, 2]) await assert.rejects(load(address), SyntaxError);
  await writeFile(path, "export const here = true;");
  await assert.rejects(import(address), SyntaxError);
  assert.equal((await load(address)).here, true);
});
