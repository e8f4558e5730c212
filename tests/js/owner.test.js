/** What a tab remembers belongs to the person who wrote it: nobody else sends it, sees it or has it. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatClient } from "../../frontend/client/client.ts";
import { FakeStorage, FakeTimers, socketClass } from "./fakes.js";

const WELCOME = { type: "welcome", session: "s1", token: "t1", resumed: false, reason: "new", received: 0, first: 1, head: 0, turn: null, heartbeat: 20, max_frame: 1000 };
const SECRETS = ["1234", "half a thought", "sk-ada", "contract.pdf", "ada-profile"];

/** A page load in a tab with `storage`; `owner` is what the template tag says, if it does. */
function load(storage, options = {}) {
  const Socket = socketClass();
  const timers = new FakeTimers();
  const client = new ChatClient("ws://test/ws/", { WebSocket: Socket, timers, page: null, storage, random: () => 1, BroadcastChannel: null, locks: null, ...options });
  const forgotten = [];
  client.addEventListener("owner", () => forgotten.push(true));
  const connect = (welcome) => {
    client.connect();
    Socket.last.open();
    Socket.last.push({ ...WELCOME, ...welcome });
    return Socket.last;
  };
  return { client, Socket, timers, forgotten, connect };
}

/** Ada has written this, and the line is down. */
function leftBehind(owner, options = {}) {
  const storage = new FakeStorage();
  const { client, connect } = load(storage, options);
  connect({ owner }).drop();
  client.profile = "ada-profile";
  client.send("message", { content: "my PIN is 1234" });
  client.storage.keep("draft", "half a thought");
  client.storage.env = { MODEL_API_KEY: "sk-ada" };
  client.storage.keep("files", { f1: { id: "f1", name: "contract.pdf" } });
  client.close();
  return storage;
}

const stored = (storage) => JSON.stringify([...storage.items]);
const said = (Socket) => JSON.stringify(Socket.all.map(({ sent }) => sent));
const holdsNone = (text) => SECRETS.forEach((secret) => assert.ok(!text.includes(secret), `${secret} is in ${text}`));

test("the next user of a tab sends nothing of the last one's, if the page knows who is here", () => {
  const storage = leftBehind("ada");
  const { client, Socket, connect } = load(storage, { owner: "bob" });
  assert.deepEqual([client.pending, client.storage.recall("draft"), client.env, client.session], [[], null, {}, null]);
  holdsNone(stored(storage));
  const socket = connect({ session: "s2", owner: "bob" });
  assert.equal(socket.sent[0].session, undefined);
  assert.deepEqual(socket.of("event"), []);
  holdsNone(said(Socket) + stored(storage));
});

test("the next user of a tab sends nothing of the last one's, if only the welcome says who is here", () => {
  const storage = leftBehind("ada");
  const { client, connect, forgotten } = load(storage);
  const socket = connect({ session: "s2", reason: "unknown", owner: "bob" });
  assert.equal(socket.sent[0].owner, "ada"); // so the server uses none of what this hello brings
  assert.deepEqual(socket.of("event"), []);
  assert.deepEqual([client.pending, client.storage.recall("draft"), client.env, client.profile], [[], null, {}, undefined]);
  assert.equal(forgotten.length, 1);
  holdsNone(stored(storage));
});

test("a page that outlives the login of its user forgets what they wrote on it", () => {
  const storage = new FakeStorage();
  const { client, timers, Socket, connect, forgotten } = load(storage, { owner: "ada", env: { MODEL_API_KEY: "sk-ada" } });
  connect({ owner: "ada" }).drop();
  client.send("message", { content: "my PIN is 1234" });
  client.storage.keep("draft", "half a thought");
  timers.advance(client.state.retryIn * 1000);
  Socket.last.open();
  Socket.last.push({ ...WELCOME, session: "s2", reason: "unknown", owner: "bob" });
  assert.deepEqual(Socket.last.of("event"), []);
  assert.deepEqual([client.pending, client.storage.recall("draft"), client.env], [[], null, {}]);
  assert.equal(forgotten.length, 1);
  holdsNone(stored(storage));
  Socket.last.drop();
  timers.advance(client.state.retryIn * 1000);
  Socket.last.open();
  assert.equal(Socket.last.sent[0].owner, "bob");
  holdsNone(JSON.stringify(Socket.last.sent));
});

test("who logs in again after a lost login finds what they wrote, also if the page was loaded without one", () => {
  const storage = leftBehind("ada");
  const out = load(storage, { owner: "" });
  out.client.connect();
  out.Socket.last.open();
  holdsNone(said(out.Socket));
  assert.deepEqual([out.client.pending, out.client.storage.recall("draft"), out.client.env], [[], null, {}]);
  out.Socket.last.push({ type: "error", code: "unauthorized", detail: "log in first" });
  out.Socket.last.drop(4502);
  out.client.close();
  const { client, connect } = load(storage, { owner: "ada" });
  const socket = connect({ resumed: true, reason: null, owner: "ada" });
  assert.deepEqual(socket.sent[0].env, { MODEL_API_KEY: "sk-ada" });
  assert.deepEqual(socket.of("event").map(({ data }) => data.content), ["my PIN is 1234"]);
  assert.equal(client.storage.recall("draft"), "half a thought");
});

test("what a user wrote is not an anonymous visitor's, and is gone once they have a conversation", () => {
  const storage = leftBehind("ada");
  const { client, Socket, connect } = load(storage, { owner: "" });
  assert.deepEqual(connect({ session: "s2", owner: "" }).of("event"), []);
  assert.deepEqual([client.pending, client.storage.recall("draft")], [[], null]);
  holdsNone(said(Socket) + stored(storage));
});

test("what an anonymous visitor wrote is not sent by who logs in then", () => {
  const storage = leftBehind("");
  const { client, Socket, connect } = load(storage, { owner: "ada" });
  assert.deepEqual([client.pending, client.storage.recall("draft"), client.env], [[], null, {}]);
  const socket = connect({ session: "s2", reason: "unknown", owner: "ada" });
  assert.deepEqual(socket.of("event"), []);
  assert.deepEqual([client.pending, client.storage.recall("draft")], [[], null]);
  holdsNone(said(Socket) + stored(storage));
});

test("a conversation that was assigned to who logged in goes on, with what waited in it", () => {
  const storage = leftBehind("");
  const { client, Socket, connect, forgotten } = load(storage, { owner: "ada" });
  connect({ token: "t2", resumed: true, reason: null, owner: "ada" });
  const [hello] = Socket.all[0].sent;
  assert.deepEqual([hello.session, hello.token, hello.env], ["s1", "t1", undefined]);
  assert.equal(Socket.all.length, 2); // once more, with the keys
  Socket.last.open();
  Socket.last.push({ ...WELCOME, token: "t3", resumed: true, reason: null, owner: "ada" });
  assert.deepEqual(Socket.last.sent[0].env, { MODEL_API_KEY: "sk-ada" });
  assert.deepEqual(Socket.last.of("event").map(({ data }) => data.content), ["my PIN is 1234"]);
  assert.equal(client.storage.recall("draft"), "half a thought");
  assert.equal(forgotten.length, 0);
  assert.equal(client.storage.owner, "ada");
});

test("what was written since the login goes behind what waited before it", () => {
  const { client, Socket, connect } = load(leftBehind(""), { owner: "ada" });
  client.send("message", { content: "and now" });
  connect({ resumed: true, reason: null, owner: "ada" });
  assert.deepEqual(client.pending.map(({ n, data }) => [n, data.content]), [[1, "my PIN is 1234"], [2, "and now"]]);
  Socket.last.push({ type: "accepted", n: 1, seq: 1 });
  assert.deepEqual(Socket.last.of("event").map(({ data }) => data.content), ["my PIN is 1234", "and now"]);
});

test("a page on which somebody logged in goes on with the conversation that was assigned to them", () => {
  const { client, timers, Socket, connect, forgotten } = load(new FakeStorage(), { owner: "" });
  connect({ owner: "" }).drop();
  client.send("message", { content: "after all" });
  timers.advance(client.state.retryIn * 1000);
  Socket.last.open();
  Socket.last.push({ ...WELCOME, token: "t2", resumed: true, reason: null, owner: "ada" });
  assert.deepEqual(Socket.last.of("event").map(({ data }) => data.content), ["after all"]);
  assert.equal(forgotten.length, 0);
});

test("a page without the tag asks again with its own wishes when the tab was another's", () => {
  const { client, Socket, connect } = load(leftBehind("ada"), { profile: "Quick", env: { KEY: "bob's own" } });
  connect({ session: "s2", reason: "unknown", owner: "bob" });
  assert.equal(Socket.all.length, 2);
  Socket.last.open();
  const { owner, profile, env, session } = Socket.last.sent[0];
  assert.deepEqual([owner, profile, env, session], ["bob", "Quick", { KEY: "bob's own" }, undefined]);
  assert.deepEqual(client.pending, []);
});

test("who is asked for keys is not offered those of somebody else", () => {
  const storage = leftBehind("ada");
  const { client, Socket } = load(storage);
  client.connect();
  Socket.last.open();
  Socket.last.push({ type: "error", code: "missing_env", detail: "MODEL_API_KEY", owner: "bob" });
  Socket.last.drop(4502);
  assert.equal(client.state.reason, "missing_env");
  assert.deepEqual(client.storage.env, {});
  client.setEnv({ MODEL_API_KEY: "sk-bob" });
  Socket.last.open();
  assert.deepEqual([Socket.last.sent[0].owner, Socket.last.sent[0].env], ["bob", { MODEL_API_KEY: "sk-bob" }]);
  holdsNone(stored(storage));
});

test("what a release without owners has left is sent only in its own session", () => {
  const legacy = () => {
    const storage = leftBehind("ada");
    storage.removeItem("chatsessions:ws://test/ws/:owner");
    return storage;
  };
  const theirs = load(legacy(), { owner: "ada" });
  theirs.connect({ resumed: true, reason: null, owner: "ada" });
  assert.equal(theirs.Socket.all[0].sent[0].session, "s1");
  assert.equal(theirs.client.storage.recall("draft"), "half a thought");
  for (const options of [{}, { owner: "bob" }]) {
    const { connect, client } = load(legacy(), options);
    assert.deepEqual(connect({ session: "s2", reason: "unknown", owner: "bob" }).of("event"), []);
    assert.deepEqual([client.pending, client.storage.recall("draft")], [[], null]);
  }
});

test("with a server that does not say whose it is, a tab keeps what it has", () => {
  const { connect } = load(leftBehind(undefined));
  const socket = connect({ session: "s2", reason: "expired" });
  assert.deepEqual(socket.of("event").map(({ data }) => data.content), ["my PIN is 1234"]);
});
