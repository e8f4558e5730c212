/** Whatever a page gives the client to send, the server can read it: else it is refused where it is given. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatClient } from "../../frontend/client/client.ts";
import { FakeStorage, FakeTimers, socketClass } from "./fakes.js";

const WELCOME = { type: "welcome", session: "s1", token: "t1", resumed: false, reason: "new", received: 0, first: 1, head: 0, turn: null, heartbeat: 20, max_frame: 100_000 };

function online(options = {}) {
  const Socket = socketClass();
  const client = new ChatClient("ws://test/ws/", { WebSocket: Socket, timers: new FakeTimers(), page: null, storage: new FakeStorage(), BroadcastChannel: null, locks: null, ...options });
  client.connect();
  Socket.last.open();
  Socket.last.push(WELCOME);
  return { client, Socket };
}

const nested = (depth) => (depth ? [nested(depth - 1)] : 1);
const HALF = "\ud83d";
const cyclic = {};
cyclic.itself = cyclic;

for (const name of [5, null, "", "a\u0085", "a\u009f", "a\u007f", "a\n", `a${HALF}`, "\udc00", "x".repeat(101), "answer"]) {
  test(`no event is called ${JSON.stringify(name)}`, () => {
    const { client, Socket } = online();
    assert.throws(() => client.send(name, {}), { code: "bad_name" });
    assert.deepEqual([client.pending, Socket.last.of("event")], [[], []]);
  });
}

test("a name is counted in characters", () => {
  const { client } = online();
  assert.equal(client.send("🙂".repeat(100)).n, 1);
  assert.throws(() => client.send("🙂".repeat(101)), { code: "bad_name" });
});

for (const [what, data] of [["a big integer", 5n], ["a function", () => {}], ["a symbol", Symbol("s")], ["a circle", cyclic], ["a tower", nested(65)]]) {
  test(`${what} is no data`, () => {
    const { client } = online();
    assert.throws(() => client.send("note", data), { code: "bad_data" });
    assert.throws(() => client.answer("c1", data), { code: "bad_data" });
    assert.deepEqual(client.pending, []);
  });
}

test("an answer without data, or to no question, is refused where it is given", () => {
  const { client } = online();
  assert.throws(() => client.answer("c1", undefined), { code: "bad_data" });
  assert.throws(() => client.answer("c".repeat(101), {}), { code: "bad_call" });
  assert.throws(() => client.answer(undefined, {}), { code: "bad_call" });
});

test("data may be as deep as the server reads it", () => {
  assert.equal(online().client.send("note", nested(64)).n, 1);
});

test("half a character is replaced, in keys too", () => {
  const { client, Socket } = online();
  client.send("note", { [`k${HALF}`]: [{ [HALF]: HALF }], "k\u{1f642}": 1 });
  assert.deepEqual(Socket.last.of("event")[0].data, { "k\ufffd": [{ "\ufffd": "\ufffd" }], "k\u{1f642}": 1 });
});

test("a hello can be read, whatever the page has given", () => {
  const { Socket } = online({ language: "x".repeat(36), profile: `p${HALF}`, thread: "t\u0000", env: { [`K${HALF}`]: `v${HALF}` } });
  const { language, profile, thread, env } = Socket.last.sent[0];
  assert.deepEqual([language, profile, thread, env], [undefined, undefined, undefined, { "K\ufffd": "v\ufffd" }]);
});

test("keys that are no texts are refused where they are given", () => {
  const { client } = online();
  for (const value of [5, null, undefined, {}, []]) assert.throws(() => client.setEnv({ KEY: value }), { code: "bad_env", message: /KEY/ });
  assert.throws(() => online({ env: { KEY: 5 } }), { code: "bad_env" });
});

test("broken keys that were left in the tab do not stand in the way", () => {
  const storage = new FakeStorage();
  storage.setItem("chatsessions:ws://test/ws/:env", JSON.stringify({ [`K${HALF}`]: HALF }));
  assert.deepEqual(online({ storage }).Socket.last.sent[0].env, { "K\ufffd": "\ufffd" });
});
