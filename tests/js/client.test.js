import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatClient } from "../../frontend/client/client.ts";
import { FakeStorage, FakeTimers, socketClass } from "./fakes.js";

const EVENTS = ["state", "reset", "ready", "event", "stream", "token", "turn", "pending", "notice"];
const WELCOME = { type: "welcome", session: "s1", token: "t1", resumed: false, reason: "new", received: 0, first: 1, head: 0, turn: null, heartbeat: 20, max_frame: 1000 };
const RESUMED = { ...WELCOME, token: "t2", resumed: true, reason: null };

/** A client with everything around it replaced. */
function setUp(options = {}) {
  const Socket = socketClass();
  const timers = new FakeTimers();
  const page = new EventTarget();
  const storage = new FakeStorage();
  const client = new ChatClient("ws://test/ws/", { WebSocket: Socket, timers, page, storage, random: () => 1, BroadcastChannel: null, language: "en", ...options });
  const seen = Object.fromEntries(EVENTS.map((type) => [type, []]));
  for (const type of EVENTS) client.addEventListener(type, ({ detail }) => seen[type].push(detail));
  const connect = (welcome = WELCOME) => {
    client.connect();
    Socket.last.open();
    Socket.last.push(welcome);
    return Socket.last;
  };
  /** The next connection, whenever it comes. */
  const reconnect = (welcome = RESUMED) => {
    const before = Socket.all.length;
    timers.advance(client.state.retryIn * 1000);
    assert.equal(Socket.all.length, before + 1);
    Socket.last.open();
    Socket.last.push(welcome);
    return Socket.last;
  };
  return { client, Socket, timers, page, storage, seen, connect, reconnect };
}

const entry = (seq, rest = {}) => ({ type: "event", seq, name: "message", data: { id: `m${seq}`, content: `${seq}`, streaming: false }, ...rest });
const sequence = (entries) => entries.map(({ seq }) => seq);
const texts = (frames) => frames.map(({ n, data }) => [n, data.content]);

// --- bundles ---

test("frames that come in one message are taken one after another", () => {
  const { seen, client, Socket } = setUp();
  client.connect();
  Socket.last.open();
  Socket.last.bundle({ ...WELCOME, head: 2 }, entry(1), entry(2), { type: "turn", turn: 1, name: "message", status: "running" });
  assert.deepEqual(sequence(seen.event), [1, 2]);
  assert.equal(seen.turn.at(-1).turn, 1);
});

test("behind a frame that ends the line nothing of its message is taken", () => {
  const { seen, connect } = setUp();
  connect().bundle(entry(1), { type: "ended", reason: "user" }, entry(2));
  assert.deepEqual(sequence(seen.event), [1]);
  assert.equal(seen.state.at(-1).state, "ended");
});

test("what is no frame in a message costs only itself", () => {
  const { seen, connect } = setUp();
  connect().bundle(null, 5, entry(1), {}, [entry(2)], { type: 5 });
  assert.deepEqual(sequence(seen.event), [1]);
});

// --- hello and welcome ---

test("a connection offers the subprotocol and says hello", () => {
  const { client, Socket } = setUp({ profile: "gpt" });
  client.connect();
  assert.deepEqual(Socket.last.protocols, ["chatsessions.v1"]);
  assert.equal(Socket.last.url, "ws://test/ws/");
  Socket.last.open();
  assert.deepEqual(Socket.last.sent, [{ type: "hello", received: 0, client_type: "webapp", language: "en", profile: "gpt", bundles: true }]);
});

test("a lost line resumes the session from where it was", () => {
  const { connect, reconnect, seen } = setUp();
  const first = connect({ ...WELCOME, head: 2 });
  first.push(entry(1), entry(2));
  first.drop();
  const second = reconnect({ ...RESUMED, head: 3 });
  assert.deepEqual(second.sent[0], { type: "hello", session: "s1", token: "t1", received: 2, client_type: "webapp", language: "en", bundles: true });
  second.push(entry(3));
  assert.deepEqual(sequence(seen.event), [1, 2, 3]);
  assert.deepEqual(seen.reset, [{ reason: "new" }]);
});

test("the new token is stored before anything is sent", () => {
  const { client, connect, storage } = setUp();
  client.send("message", { content: "early" });
  let stored;
  client.addEventListener("state", ({ detail }) => detail.state === "online" && (stored = [...storage.items.values()][0]));
  connect();
  assert.equal(JSON.parse(stored).token, "t1");
});

test("a reloaded page asks for the whole log", () => {
  const { connect, storage, Socket } = setUp();
  connect({ ...WELCOME, head: 1 }).push(entry(1));
  const again = setUp({ storage });
  again.connect({ ...RESUMED, head: 1 });
  assert.equal(again.Socket.last.sent[0].received, 0);
  assert.equal(again.Socket.last.sent[0].token, "t1");
  assert.equal(Socket.all.length, 1);
});

test("a server that does not welcome is left, later each time: it may be slow because so many come", () => {
  const { client, Socket, timers } = setUp();
  client.connect();
  for (const patience of [10_000, 20_000, 30_000, 30_000]) {
    const socket = Socket.last;
    socket.open();
    timers.advance(patience - 1);
    assert.equal(client.state.state, "connecting");
    timers.advance(1);
    assert.equal(client.state.state, "offline");
    assert.equal(socket.closedWith, 1000);
    timers.advance(client.state.retryIn * 1000);
  }
});

test("a server is reached from its first welcome on", () => {
  const { client, connect, Socket, timers } = setUp();
  client.connect();
  Socket.last.drop();
  assert.equal(client.reached, false);
  timers.advance(client.state.retryIn * 1000);
  Socket.last.open();
  assert.equal(client.reached, false);
  Socket.last.push(WELCOME);
  assert.equal(client.reached, true);
  Socket.last.drop();
  assert.equal(client.reached, true);
  assert.equal(setUp().client.reached, false);
});

// --- entries ---

test("an entry that is known already is ignored", () => {
  const { connect, seen } = setUp();
  connect().push(entry(1), entry(1), entry(2));
  assert.deepEqual(sequence(seen.event), [1, 2]);
});

test("a hole brings a new connection that asks for what is missing", () => {
  const { connect, reconnect, seen } = setUp();
  connect().push(entry(1), entry(3));
  assert.deepEqual(sequence(seen.event), [1]);
  const second = reconnect({ ...RESUMED, head: 3 });
  assert.equal(second.sent[0].received, 1);
  second.push(entry(2), entry(3));
  assert.deepEqual(sequence(seen.event), [1, 2, 3]);
});

test("a gap in the kept log clears and starts at its first entry", () => {
  const { connect, reconnect, seen } = setUp();
  const first = connect();
  first.push(entry(1));
  first.drop();
  reconnect({ ...RESUMED, first: 5, head: 5 }).push(entry(5), entry(6));
  assert.deepEqual(seen.reset.at(-1), { reason: "gap" });
  assert.deepEqual(sequence(seen.event), [1, 5, 6]);
});

test("a long log begins at its end, with the settings that hold", () => {
  const { client, connect, reconnect, seen } = setUp({ latest: 50 });
  const first = connect();
  assert.equal(first.sent[0].latest, 50);
  first.drop();
  const settings = { type: "event", seq: 3, name: "settings", data: { size: 1 } };
  reconnect({ ...RESUMED, first: 90, head: 90, earlier: 1, state: [settings] }).push(entry(90), entry(91));
  assert.deepEqual(seen.reset.at(-1), { reason: "latest", before: 90 });
  assert.deepEqual(sequence(seen.event), [3, 90, 91]);
  assert.equal(client.received, 91);
});

test("a log that has become shorter is read anew", () => {
  const { connect, reconnect, seen } = setUp();
  const first = connect();
  first.push(entry(1), entry(2), entry(3));
  first.drop();
  reconnect({ ...RESUMED, head: 1 });
  assert.deepEqual(seen.reset.at(-1), { reason: "gap" });
  assert.equal(reconnect({ ...RESUMED, head: 1 }).sent[0].received, 0);
});

test("a promise of more that nothing follows brings a new connection", () => {
  const { client, connect, timers } = setUp();
  const socket = connect();
  timers.advance(20_000);
  socket.push({ type: "pong", head: 2 });
  timers.advance(20_000);
  assert.equal(client.state.state, "online");
  socket.push({ type: "pong", head: 2 });
  assert.equal(client.state.state, "offline");
});

test("ready comes when the replay is complete, and then entries are live", () => {
  const { connect, seen } = setUp();
  const socket = connect({ ...WELCOME, head: 2 });
  socket.push(entry(1));
  assert.equal(seen.ready.length, 0);
  socket.push(entry(2), entry(3));
  assert.equal(seen.ready.length, 1);
  assert.deepEqual(seen.event.map(({ live }) => live), [false, false, true]);
});

test("a session that is not resumed starts over and says why", () => {
  const { connect, reconnect, seen } = setUp();
  const first = connect();
  first.push(entry(1));
  first.drop();
  reconnect({ ...WELCOME, session: "s2", reason: "expired", head: 1 }).push(entry(1));
  assert.deepEqual(seen.reset.at(-1), { reason: "expired" });
  assert.deepEqual(sequence(seen.event), [1, 1]);
});

// --- sending ---

test("what is sent is numbered, and reported when it is accepted", () => {
  const { client, connect, seen } = setUp();
  const socket = connect();
  client.sendMessage("hello");
  client.send("vote", { up: true });
  const sent = socket.of("event");
  assert.deepEqual(sent.map(({ n, name }) => [n, name]), [[1, "message"], [2, "vote"]]);
  assert.match(sent[0].data.id, /^[0-9a-f]{32}$/);
  assert.equal(client.pending.length, 2);
  socket.push({ type: "accepted", n: 1, seq: 1 }, entry(2), { type: "accepted", n: 2, seq: 3 });
  assert.deepEqual(seen.event.map(({ seq, n, name }) => [seq, n, name]), [[1, 1, "message"], [2, undefined, "message"], [3, 2, "vote"]]);
  assert.deepEqual(client.pending, []);
});

test("answers share the numbers of events", () => {
  const { client, connect } = setUp();
  const socket = connect();
  client.send("vote");
  client.answer("c1", { content: "Ada" });
  assert.deepEqual(socket.of("answer"), [{ type: "answer", n: 2, call: "c1", data: { content: "Ada" } }]);
});

test("what is sent without a line goes out after the welcome", () => {
  const { client, connect } = setUp();
  client.sendMessage("early");
  assert.deepEqual(texts(connect().of("event")), [[1, "early"]]);
});

test("after a welcome, only what the server lacks is sent again, in order", () => {
  const { client, connect, reconnect, seen } = setUp();
  const first = connect();
  for (const text of ["a", "b", "c"]) client.send("message", { content: text });
  first.drop();
  const second = reconnect({ ...RESUMED, received: 1, head: 1 });
  assert.deepEqual(texts(second.of("event")), [[2, "b"], [3, "c"]]);
  second.push({ type: "event", seq: 1, n: 1, name: "message", data: { content: "a" } });
  second.push({ type: "accepted", n: 2, seq: 2 }, { type: "accepted", n: 3, seq: 3 });
  assert.deepEqual(texts(seen.event), [[1, "a"], [2, "b"], [3, "c"]]);
  assert.deepEqual(client.pending, []);
});

test("after five seconds without accepted, everything that has arrived is sent again", () => {
  const { client, connect, timers } = setUp();
  const socket = connect();
  client.send("message", { content: "a" });
  timers.advance(4_999);
  assert.equal(socket.of("event").length, 1);
  timers.advance(1);
  assert.deepEqual([socket.of("event").length, socket.of("ping").length], [1, 1]);
  socket.push({ type: "pong", head: 0 });
  assert.deepEqual(texts(socket.of("event")), [[1, "a"], [1, "a"]]);
  socket.push({ type: "accepted", n: 1, seq: 1 }, { type: "accepted", n: 1, seq: 1 });
  timers.advance(10_000);
  assert.equal(socket.of("event").length, 2);
});

test("a session that is not resumed gets what is left, numbered from 1", () => {
  const { client, connect, reconnect } = setUp();
  const first = connect();
  for (const text of ["a", "b", "c"]) client.send("message", { content: text });
  first.push({ type: "accepted", n: 1, seq: 1 });
  first.drop();
  const second = reconnect({ ...WELCOME, session: "s2", reason: "unknown" });
  assert.deepEqual(texts(second.of("event")), [[1, "b"], [2, "c"]]);
});

test("a reload in the middle of sending loses nothing", () => {
  const { client, connect, storage } = setUp();
  connect();
  client.send("message", { content: "a" });
  client.send("message", { content: "b" });
  const again = setUp({ storage });
  assert.deepEqual(texts(again.client.pending), [[1, "a"], [2, "b"]]);
  const socket = again.connect({ ...RESUMED, received: 1, head: 1 });
  assert.deepEqual(texts(socket.of("event")), [[2, "b"]]);
});

test("what waited while numbers went to events by HTTP is sent behind these, also if they are before what a reloaded page begins with", () => {
  const { client, connect, storage } = setUp();
  const first = connect();
  for (const text of ["a", "b"]) client.send("message", { content: text });
  first.push({ type: "accepted", n: 1, seq: 1 });
  first.drop();
  client.send("message", { content: "c" });
  const again = setUp({ storage, latest: 50 });
  // "b" was stored, "c" was not: 3 to 9 came by HTTP.
  const socket = again.connect({ ...RESUMED, received: 9, yours: 2, earlier: 1, first: 200, head: 200 });
  assert.deepEqual(texts(socket.of("event")), [[10, "c"]]);
  socket.push(entry(200));
  assert.deepEqual([again.seen.ready.length, texts(again.client.pending)], [1, [[10, "c"]]]);
  socket.push({ type: "accepted", n: 10, seq: 201 });
  assert.deepEqual([again.client.pending, again.seen.event.at(-1).data.content], [[], "c"]);
});

test("n_gap sends again from the number that is expected, once", () => {
  const { client, connect } = setUp();
  const socket = connect();
  for (const text of ["a", "b", "c"]) client.send("message", { content: text });
  socket.push({ type: "accepted", n: 1, seq: 1 });
  socket.push({ type: "error", code: "n_gap", n: 2, detail: "" }, { type: "error", code: "n_gap", n: 2, detail: "" });
  assert.deepEqual(texts(socket.of("event")), [[1, "a"], [2, "b"], [3, "c"], [2, "b"], [3, "c"]]);
});

test("n_gap of what was accepted gives nothing another number: the next welcome tells what the server has", () => {
  const { client, connect, reconnect } = setUp();
  const socket = connect();
  for (const text of ["a", "b", "c"]) client.send("message", { content: text });
  socket.push({ type: "accepted", n: 1, seq: 1 }, { type: "accepted", n: 2, seq: 2 });
  socket.push({ type: "error", code: "n_gap", n: 1, detail: "" });
  assert.deepEqual(texts(socket.of("event")), [[1, "a"], [2, "b"], [3, "c"]]);
  assert.deepEqual([client.state.state, texts(client.pending)], ["offline", [[3, "c"]]]);
  assert.deepEqual(texts(reconnect({ ...RESUMED, received: 2, head: 2 }).of("event")), [[3, "c"]]);
});

for (const code of ["rate_limited", "busy", "storage_unavailable"]) {
  test(`${code} pauses for retry_after, then the refused one is sent again, and the others behind it as it is accepted`, () => {
    const { client, connect, timers, seen } = setUp();
    const socket = connect();
    client.send("message", { content: "a" });
    client.send("message", { content: "b" });
    socket.push({ type: "error", code, n: 1, detail: "slow down", retry_after: 7 }, { type: "error", code: "n_gap", n: 1, detail: "" });
    client.send("message", { content: "c" });
    timers.advance(6_999);
    assert.equal(socket.of("event").length, 2);
    timers.advance(1);
    assert.deepEqual(texts(socket.of("event").slice(2)), [[1, "a"]]);
    socket.push({ type: "accepted", n: 1, seq: 1 });
    assert.deepEqual(texts(socket.of("event").slice(2)), [[1, "a"], [2, "b"], [3, "c"]]);
    assert.deepEqual(seen.notice, [{ code, detail: "slow down", frame: undefined, retryAfter: 7 }]);
  });
}

test("a frame that is refused for good is given up, and the others move up", () => {
  const { client, connect, seen } = setUp();
  const socket = connect();
  client.answer("c1", { files: ["f1"] });
  client.send("message", { content: "b" });
  socket.push({ type: "error", code: "forbidden", n: 1, detail: "not your file" });
  assert.equal(seen.notice[0].frame.call, "c1");
  assert.deepEqual(texts(socket.of("event")), [[2, "b"]]);
  socket.push({ type: "pong", head: 0 });
  assert.deepEqual(texts(socket.of("event")), [[2, "b"], [1, "b"]]);
});

test("an answer that comes too late keeps its number: it is in the log, and so is what was written behind it, once", () => {
  const { client, connect, reconnect, seen } = setUp();
  const first = connect();
  first.push(entry(1, { name: "ask", data: { call: "c1", kind: "text" } }));
  first.drop();
  client.answer("c1", { content: "Ada" });
  client.sendMessage("Hello?");
  const second = reconnect({ ...RESUMED, head: 2 });
  second.push(entry(2, { name: "ask_closed", data: { call: "c1", outcome: "cancelled" } }));
  second.push({ type: "error", code: "call_closed", n: 1, detail: "too late" });
  second.push({ type: "accepted", n: 1, seq: 3 }, { type: "accepted", n: 2, seq: 4 });
  assert.deepEqual(seen.event.slice(2).map(({ n, name }) => [n, name]), [[1, "answer"], [2, "message"]]);
  assert.deepEqual([client.state.state, client.pending], ["online", []]);
  assert.deepEqual(seen.notice, [{ code: "call_closed", detail: "too late", frame: undefined, retryAfter: undefined }]);
});

test("what is said of frames with numbers of before a refusal is not about those that have these numbers now", () => {
  const { client, connect, seen } = setUp();
  const socket = connect();
  for (const content of ["bad", "a", "bad too", "b"]) client.send("message", { content });
  const refusal = (n) => ({ type: "error", code: "bad_frame", n, detail: "" });
  socket.push(refusal(1), refusal(3), { type: "error", code: "n_gap", n: 1, detail: "" }, { type: "pong", head: 0 });
  assert.deepEqual(seen.notice.map(({ frame }) => frame.data.content), ["bad"]);
  assert.deepEqual(texts(socket.of("event")).slice(4), [[1, "a"], [2, "bad too"], [3, "b"]]);
  socket.push(refusal(2), { type: "pong", head: 0 });
  assert.deepEqual(seen.notice.map(({ frame }) => frame.data.content), ["bad", "bad too"]);
  assert.deepEqual(texts(socket.of("event")).slice(7), [[2, "b"]]);
});

test("a long queue goes out in portions", () => {
  const { client, connect } = setUp();
  for (let index = 0; index < 100; index++) client.send("message", { content: `${index}` });
  const socket = connect();
  const portion = socket.of("event").length;
  assert.ok(portion < 100);
  socket.push({ type: "accepted", n: 1, seq: 1 });
  assert.equal(socket.of("event").length, portion + 1);
});

test("an accepted that overtakes entries waits for them", () => {
  const { client, connect, seen } = setUp();
  const socket = connect();
  client.send("message", { content: "a" });
  socket.push({ type: "accepted", n: 1, seq: 3 }, entry(1));
  assert.deepEqual(sequence(seen.event), [1]);
  socket.push(entry(2));
  assert.deepEqual(sequence(seen.event), [1, 2, 3]);
});

test("half a surrogate pair is repaired before it is sent", () => {
  const { client, connect } = setUp();
  const socket = connect();
  client.sendMessage("a\ud83d");
  assert.equal(socket.of("event")[0].data.content, "a\ufffd");
});

test("an event without a proper name is refused at once", () => {
  const { client } = setUp();
  for (const name of ["", "a\u0000", "x".repeat(101)]) assert.throws(() => client.send(name), { code: "bad_name" });
  assert.deepEqual(client.pending, []);
});

// --- too large ---

test("a message beyond max_frame is refused at once, counted in bytes", () => {
  const { client, connect } = setUp();
  const socket = connect({ ...WELCOME, max_frame: 200 });
  client.send("message", { content: "x".repeat(100) });
  assert.throws(() => client.send("message", { content: "é".repeat(100) }), { code: "too_large", message: /200 bytes/ });
  assert.equal(socket.of("event").length, 1);
  assert.equal(client.pending.length, 1);
});

test("a message written before the limit was known is given up with a notice", () => {
  const { client, connect, seen } = setUp();
  client.send("message", { content: "x".repeat(500) });
  client.send("message", { content: "small" });
  const socket = connect({ ...WELCOME, max_frame: 200 });
  assert.deepEqual(texts(socket.of("event")), [[1, "small"]]);
  assert.equal(seen.notice[0].code, "too_large");
  assert.equal(seen.notice[0].frame.data.content.length, 500);
});

test("1009 drops the largest frame, tells so, and comes back", () => {
  const { client, connect, reconnect, seen } = setUp();
  const first = connect({ ...WELCOME, max_frame: 10_000 });
  client.send("message", { content: "small" });
  client.send("message", { content: "x".repeat(5_000) });
  client.send("message", { content: "after" });
  first.drop(1009);
  assert.equal(seen.notice[0].code, "too_large");
  assert.equal(seen.notice[0].frame.data.content.length, 5_000);
  assert.deepEqual(texts(reconnect().of("event")), [[1, "small"], [2, "after"]]);
});

// --- acknowledgements and streams ---

test("32 entries are acknowledged at once, fewer within a second", () => {
  const { connect, timers } = setUp();
  const socket = connect();
  for (let seq = 1; seq <= 40; seq++) socket.push(entry(seq));
  assert.deepEqual(socket.of("ack"), [{ type: "ack", seq: 32 }]);
  timers.advance(1_000);
  assert.deepEqual(socket.of("ack").at(-1), { type: "ack", seq: 40 });
  timers.advance(10_000);
  assert.equal(socket.of("ack").length, 2);
});

test("tokens are acknowledged every second while they arrive", () => {
  const { connect, timers } = setUp();
  const socket = connect();
  socket.push(entry(1, { data: { id: "m", content: "", streaming: true } }));
  for (let index = 0; index < 30; index++) {
    socket.push({ type: "token", message: "m", index, text: "x" });
    timers.advance(100);
  }
  assert.equal(socket.of("ack").length, 3);
});

test("tokens are reported in order and once; a stream replaces all", () => {
  const { connect, seen } = setUp();
  const token = (index) => ({ type: "token", message: "m", index, text: `${index}` });
  connect().push(entry(1, { data: { id: "m", content: "", streaming: true } }), token(0), token(0), token(1), token(3));
  assert.deepEqual(seen.token.map(({ index }) => index), [0, 1]);
});

test("a stream goes on after its resynchronisation", () => {
  const { connect, seen } = setUp();
  const socket = connect();
  socket.push(entry(1, { data: { id: "m", content: "", streaming: true } }));
  socket.push({ type: "token", message: "m", index: 5, text: "late" }, { type: "stream", message: "m", index: 6, content: "abc" });
  socket.push({ type: "token", message: "m", index: 6, text: "d" });
  assert.deepEqual(seen.stream, [{ message: "m", content: "abc" }]);
  assert.deepEqual(seen.token.map(({ text }) => text), ["d"]);
});

// --- the line ---

test("a silent line is pinged, and left when no pong comes", () => {
  const { client, connect, timers } = setUp();
  const socket = connect();
  timers.advance(20_000);
  assert.equal(socket.of("ping").length, 1);
  timers.advance(9_999);
  assert.equal(client.state.state, "online");
  timers.advance(1);
  assert.equal(client.state.state, "offline");
});

test("a pong keeps the line", () => {
  const { client, connect, timers } = setUp();
  const socket = connect();
  for (let beat = 0; beat < 10; beat++) {
    timers.advance(20_000);
    socket.push({ type: "pong", head: 0 });
  }
  assert.equal(client.state.state, "online");
  assert.equal(socket.of("ping").length, 10);
});

test("a line on which only the server speaks is pinged too", () => {
  const { connect, timers } = setUp();
  const socket = connect();
  for (let second = 0; second < 30; second++) {
    timers.advance(1_000);
    socket.push({ type: "turn", turn: 1, name: "message", status: "running" });
  }
  assert.equal(socket.of("ping").length, 1);
});

test("attempts back off, and a connection that held starts anew", () => {
  const { client, connect, timers, Socket, reconnect } = setUp();
  connect();
  Socket.last.drop();
  const waits = [];
  for (let attempt = 0; attempt < 4; attempt++) {
    waits.push(client.state.retryIn);
    timers.advance(client.state.retryIn * 1000);
    Socket.last.drop();
  }
  assert.deepEqual(waits, [0.5, 1, 2, 4]);
  reconnect();
  timers.advance(5_000);
  Socket.last.drop();
  assert.equal(client.state.retryIn, 0.5);
});

test("a connection that did not hold does not reset the back-off", () => {
  const { client, connect, Socket, reconnect } = setUp();
  connect();
  Socket.last.drop();
  reconnect();
  Socket.last.drop();
  assert.equal(client.state.retryIn, 1);
});

for (const type of ["online", "visibilitychange", "pageshow"]) {
  test(`${type} tries again at once`, () => {
    const { connect, Socket, page, client } = setUp();
    connect().drop();
    page.dispatchEvent(new Event(type));
    assert.equal(Socket.all.length, 2);
    assert.equal(client.state.state, "connecting");
  });
}

test("coming back to a page asks whether the line still lives", () => {
  const { connect, page, timers, client } = setUp();
  const socket = connect();
  page.dispatchEvent(new Event("visibilitychange"));
  assert.equal(socket.of("ping").length, 1);
  timers.advance(10_000);
  assert.equal(client.state.state, "offline");
});

for (const code of [1001, 1006, 1012, 4000, 4008, 4012, 4013, 4499]) {
  test(`close code ${code} comes back`, () => {
    const { connect, client, Socket, timers } = setUp();
    connect().drop(code);
    assert.equal(client.state.state, "offline");
    timers.advance(500);
    assert.equal(Socket.all.length, 2);
  });
}

for (const [code, state] of [[4500, "refused"], [4502, "refused"], [4503, "ended"], [4504, "refused"], [4509, "replaced"], [4999, "refused"]]) {
  test(`close code ${code} is ${state} and does not come back`, () => {
    const { connect, client, Socket, timers, page } = setUp();
    connect().drop(code);
    assert.equal(client.state.state, state);
    assert.throws(() => client.sendMessage("x"), { code: "closed" });
    page.dispatchEvent(new Event("online"));
    timers.advance(600_000);
    assert.equal(Socket.all.length, 1);
    assert.equal(timers.size, 0);
  });
}

test("a refusal carries the server's words", () => {
  const { client, Socket } = setUp();
  client.connect();
  Socket.last.open();
  Socket.last.push({ type: "error", code: "unauthorized", detail: "Log in first." });
  Socket.last.drop(4502);
  assert.deepEqual(client.state, { state: "refused", attempt: 0, code: 4502, reason: "unauthorized", detail: "Log in first." });
});

test("an ended session says why, and a new one can be begun", () => {
  const { connect, client, Socket, seen } = setUp();
  connect().push(entry(1), { type: "ended", reason: "app" });
  assert.equal(client.state.state, "ended");
  assert.equal(client.state.reason, "app");
  client.newSession();
  assert.deepEqual(seen.reset.at(-1), { reason: "new" });
  Socket.last.open();
  assert.equal(Socket.last.sent[0].session, undefined);
  assert.equal(Socket.last.sent[0].received, 0);
});

test("a replaced client can take over, with the token its sibling got", () => {
  const channels = [];
  class Channel {
    constructor() {
      channels.push(this);
    }
    postMessage(data) {
      if (data.asks) return; // the browser has put the other one to sleep
      for (const channel of channels) if (channel !== this) channel.onmessage({ data });
    }
    close() {}
  }
  const one = setUp({ BroadcastChannel: Channel });
  one.connect();
  const copy = new FakeStorage();
  copy.items = new Map(one.storage.items);
  const two = setUp({ BroadcastChannel: Channel, storage: copy });
  two.connect(RESUMED);
  one.Socket.last.drop(4509);
  assert.equal(one.client.state.state, "replaced");
  one.client.connect();
  one.Socket.last.open();
  assert.equal(one.Socket.last.sent[0].token, "t2");
});

// --- turns and the rest ---

test("the running turn is known, after a reconnect too", () => {
  const { connect, reconnect, client } = setUp();
  const socket = connect();
  socket.push({ type: "turn", turn: 1, name: "message", status: "running" });
  assert.equal(client.turn.turn, 1);
  client.stop();
  assert.equal(socket.of("stop").length, 1);
  socket.push({ type: "turn", turn: 1, name: "message", status: "stopped" });
  assert.equal(client.turn, null);
  socket.drop();
  reconnect({ ...RESUMED, turn: 2 });
  assert.equal(client.turn.turn, 2);
});

test("a turn that ends beside another one does not hide that one", () => {
  const { connect, reconnect, client, seen } = setUp();
  const status = (turn, status, name = "message") => ({ type: "turn", turn, name, status });
  const socket = connect();
  socket.push(status(3, "running"));
  socket.push(status(4, "running", "feedback"));
  assert.equal(client.turn.turn, 3);
  socket.push(status(4, "done", "feedback"));
  assert.equal(client.turn.turn, 3);
  assert.deepEqual(seen.turn.slice(-3).map(({ turn, status }) => [turn, status]), [[3, "running"], [4, "running"], [4, "done"]]);
  socket.push(status(5, "running", "action"), status(3, "done"));
  assert.equal(client.turn.turn, 5);
  socket.drop();
  reconnect();
  assert.equal(client.turn, null, "both ended while the line was down");
});

test("the end of a session, or another log, leaves no turn running", () => {
  const { connect, client } = setUp();
  const running = (turn) => ({ type: "turn", turn, name: "message", status: "running" });
  connect().push(running(1), running(2), { type: "ended", reason: "user" });
  assert.equal(client.turn, null);
  client.newSession();
  connect().push(running(1), running(2));
  client.newSession();
  assert.equal(client.turn, null);
});

test("a reload while the chat begins shows that it runs", () => {
  const { connect, client, seen } = setUp();
  const socket = connect({ ...RESUMED, turn: 0 });
  assert.equal(client.turn.turn, 0);
  assert.equal(seen.turn.length, 1);
  socket.push({ type: "turn", turn: 0, name: "start", status: "done" });
  assert.equal(client.turn, null);
});

test("an end that was asked for without a line is sent when it is back", () => {
  const { connect, reconnect, client } = setUp();
  connect().drop();
  client.end();
  assert.equal(reconnect().of("end").length, 1);
});

test("a closed client leaves no timer and no listener", () => {
  const { connect, client, timers, page, Socket } = setUp();
  connect({ ...WELCOME, head: 1 }).push(entry(1));
  client.sendMessage("x");
  client.close();
  assert.equal(timers.size, 0);
  page.dispatchEvent(new Event("online"));
  assert.equal(Socket.all.length, 1);
  client.connect();
  Socket.last.open();
  assert.equal(Socket.last.sent[0].received, 1);
});

test("frames that are not ours are ignored", () => {
  const { connect, client } = setUp();
  const socket = connect();
  socket.onmessage({ data: "{" });
  socket.onmessage({ data: "[]" });
  socket.push({ type: "novelty", x: 1 });
  assert.equal(client.state.state, "online");
});

test("a storage that throws does not stand in the way", () => {
  const refuse = () => {
    throw new Error("forbidden");
  };
  const { connect, client } = setUp({ storage: { getItem: refuse, setItem: refuse, removeItem: refuse } });
  const socket = connect();
  client.sendMessage("x");
  assert.equal(socket.of("event").length, 1);
});
