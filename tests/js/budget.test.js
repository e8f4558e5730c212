/** How much a page has to fetch. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { brotliCompressSync } from "node:zlib";

const BUILT = "chatsessions/static/chatsessions";
/** In bytes, compressed with brotli. */
const BUDGETS = { "client.js": 7 * 1024, "chat-session.js": 30 * 1024, "panels.js": 8 * 1024, "widget.js": 3.3 * 1024, "markdown.js": 19 * 1024, "highlight.js": 38.5 * 1024 };

for (const [name, budget] of Object.entries(BUDGETS)) {
  test(`${name} has at most ${budget} bytes when compressed`, () => {
    const { length } = brotliCompressSync(readFileSync(`${BUILT}/${name}`));
    assert.ok(length <= budget, `it has ${length}`);
  });
}
