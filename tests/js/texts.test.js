import assert from "node:assert/strict";
import { test } from "node:test";

const SHARED = Symbol.for("chatsessions.texts");

test("Files of two releases in a browser's cache share the texts, and none is missing", async () => {
  const older = { send: "Senden", states: { online: "Verbunden" } };
  globalThis[SHARED] = older;
  const { texts } = await import("../../frontend/element/texts.ts");
  assert.equal(texts, older);
  assert.equal(texts.send, "Senden", "what was assigned stays");
  assert.equal(texts.states.online, "Verbunden");
  assert.equal(texts.stop, "Stop", "what the other file does not know is added");
  assert.equal(texts.states.ended, "Ended");
});

test("How long a turn has taken is told in seconds, and from a minute on in both", async () => {
  const { texts } = await import("../../frontend/element/texts.ts");
  assert.equal(texts.elapsed(59), "59 s");
  assert.equal(texts.elapsed(125), "2 min 5 s");
});
