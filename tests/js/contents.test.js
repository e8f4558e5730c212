/** What goes beside plain messages: answers, files, keys, profiles, threads, the page around a frame. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatClient } from "../../frontend/client/client.ts";
import { UploadError } from "../../frontend/element/requests.ts";
import { tabStorage } from "../../frontend/client/tab-storage.ts";
import { FileServer, acceptance, fileName, isRaster, sizeWords } from "../../frontend/element/uploads.ts";
import { WindowMessages } from "../../frontend/element/window-messages.ts";
import { FakeStorage, FakeTimers, owner, requestClass, settle, socketClass } from "./fakes.js";

const WELCOME = { type: "welcome", session: "s1", token: "t1", resumed: false, reason: "new", received: 0, first: 1, head: 0, turn: null, heartbeat: 20, max_frame: 1000 };
const RESUMED = { ...WELCOME, token: "t2", resumed: true, reason: null };

function setUp(options = {}) {
  const Socket = socketClass();
  const timers = new FakeTimers();
  const storage = options.storage ?? new FakeStorage();
  const client = new ChatClient("ws://test/ws/", { WebSocket: Socket, timers, page: null, storage, random: () => 1, BroadcastChannel: null, language: "en", ...options });
  const notices = [];
  client.addEventListener("notice", ({ detail }) => notices.push(detail));
  const connect = (welcome = WELCOME) => {
    client.connect();
    Socket.last.open();
    Socket.last.push(welcome);
    return Socket.last;
  };
  return { client, Socket, timers, storage, notices, connect };
}

const hello = (socket) => socket.of("hello")[0];

// --- answers ---

test("answers and events share one count, and an answer is resent until it is accepted", () => {
  const { client, connect, timers, Socket } = setUp();
  const first = connect();
  client.sendMessage("one");
  client.answer("c1", { content: "two" });
  assert.deepEqual(first.of("answer"), [{ type: "answer", call: "c1", data: { content: "two" }, n: 2 }]);
  first.push({ type: "accepted", n: 1, seq: 1 });
  timers.advance(5_000);
  first.push({ type: "pong", head: 1 });
  assert.equal(first.of("answer").length, 2);
  first.drop();
  timers.advance(client.state.retryIn * 1000);
  Socket.last.open();
  Socket.last.push({ ...RESUMED, received: 1, head: 1 });
  assert.deepEqual(Socket.last.of("answer").map(({ n }) => n), [2]);
  Socket.last.push({ type: "accepted", n: 2, seq: 2 });
  assert.deepEqual(client.pending, []);
});

test("an answer outlives a reload of the page", () => {
  const { client, connect, storage } = setUp();
  connect();
  client.answer("c1", { id: "a1" });
  const again = setUp({ storage });
  const socket = again.connect({ ...RESUMED, received: 0 });
  assert.deepEqual(socket.of("answer"), [{ type: "answer", call: "c1", data: { id: "a1" }, n: 1 }]);
});

test("an accepted answer is told as the entry that it is", () => {
  const { client, connect } = setUp();
  const entries = [];
  client.addEventListener("event", ({ detail }) => entries.push(detail));
  const socket = connect();
  client.answer("c1", { content: "x" });
  socket.push({ type: "accepted", n: 1, seq: 1 });
  assert.deepEqual(entries, [{ seq: 1, n: 1, name: "answer", data: { call: "c1", data: { content: "x" } }, live: true }]);
});

test("an answer of the wrong shape is given back, and its number is free again", () => {
  const { client, connect, notices } = setUp();
  const socket = connect();
  client.answer("c1", { nonsense: true });
  client.sendMessage("behind it");
  socket.push({ type: "error", code: "bad_frame", detail: "the answer", n: 1 });
  assert.equal(notices[0].frame.call, "c1");
  assert.deepEqual(client.pending.map(({ n, name }) => [n, name]), [[1, "message"]]);
});

test("an action that is not offered is refused for good", () => {
  const { client, connect, notices } = setUp();
  const socket = connect();
  client.send("action", { id: "a", name: "go", payload: {} });
  socket.push({ type: "error", code: "forbidden", detail: "no", n: 1 });
  assert.equal(notices[0].frame.name, "action");
  assert.deepEqual(client.pending, []);
});

// --- keys ---

test("keys are kept in the tab's storage and go with each hello", () => {
  const { client, Socket, storage, connect } = setUp();
  client.connect();
  Socket.last.open();
  assert.equal(hello(Socket.last).env, undefined);
  Socket.last.push({ type: "error", code: "missing_env", detail: "A, B" });
  Socket.last.drop(4502);
  assert.deepEqual([client.state.state, client.state.reason, client.state.detail], ["refused", "missing_env", "A, B"]);
  client.setEnv({ A: "1", B: "2" });
  Socket.last.open();
  assert.deepEqual(hello(Socket.last).env, { A: "1", B: "2" });
  const again = setUp({ storage });
  assert.deepEqual(hello(again.connect()).env, { A: "1", B: "2" });
  assert.ok(connect);
});

test("other keys are told at once, in the same session", () => {
  const { client, Socket, connect } = setUp();
  connect();
  client.setEnv({ A: "1" });
  assert.equal(Socket.all.length, 2);
  Socket.last.open();
  assert.deepEqual([hello(Socket.last).session, hello(Socket.last).env], ["s1", { A: "1" }]);
});

test("keys in the storage that are not ours are none", () => {
  for (const text of ["null", "7", "[1]", "{", '{"A": 1}']) {
    const storage = new FakeStorage();
    storage.setItem("chatsessions:ws://test/ws/:env", text);
    assert.deepEqual(tabStorage("ws://test/ws/", storage).env, {});
  }
});

// --- profiles and threads ---

test("a profile is told with the first hello and known after a reload", () => {
  const { client, storage, connect } = setUp();
  client.profile = "Quick";
  assert.equal(hello(connect()).profile, "Quick");
  const again = setUp({ storage });
  assert.equal(again.client.profile, "Quick");
  assert.equal(hello(again.connect(RESUMED)).session, "s1");
});

test("a new conversation goes on with an old thread, and with the profile", () => {
  const { client, Socket, storage, connect } = setUp({ profile: "Quick" });
  connect();
  client.newSession({ thread: "old" });
  Socket.last.open();
  const said = hello(Socket.last);
  assert.deepEqual([said.session, said.thread, said.profile], [undefined, "old", "Quick"]);
  Socket.last.push({ ...WELCOME, session: "s2" });
  assert.equal(setUp({ storage }).client.thread, "old");
  client.newSession();
  assert.equal(client.thread, undefined);
});

test("a page that asks for another thread does not get the remembered session", () => {
  const { storage, connect } = setUp({ thread: "one" });
  connect();
  assert.equal(setUp({ storage, thread: "one" }).client.session, "s1");
  const other = setUp({ storage, thread: "two" });
  assert.equal(other.client.session, null);
  assert.equal(hello(other.connect()).thread, "two");
});

// --- files ---

const file = (name = "a.txt", type = "text/plain") => new File(["abcd"], name, { type });

test("a file goes up with the token, says how far it is, and is remembered by its name", async () => {
  const Request = requestClass();
  const mine = owner();
  const server = new FileServer("/chats", mine, { XMLHttpRequest: Request });
  const shares = [];
  const { done } = server.upload(file(), (share) => shares.push(share));
  await settle();
  const [request] = Request.all;
  assert.deepEqual([request.method, request.url, request.headers.Authorization], ["POST", "/chats/s1/files/", "Bearer t1"]);
  assert.deepEqual([request.headers["X-File-Name"], request.headers["Content-Type"]], ["a.txt", "text/plain"]);
  assert.equal(await request.body.text(), "abcd");
  request.upload.onprogress({ loaded: 1 });
  request.answer(201, { id: "f1", name: "a.txt", mime: "text/plain", size: 4 });
  assert.deepEqual(await done, { id: "f1", name: "a.txt", mime: "text/plain", size: 4 });
  assert.deepEqual(shares, [0.25]);
  assert.equal(server.describe("f1").name, "a.txt");
  assert.equal(server.describe("f2").name, "File");
});

test("a name goes into a header whatever it is, and a type that would be read as a form does not", async () => {
  const Request = requestClass();
  const server = new FileServer("/chats/", owner(), { XMLHttpRequest: Request });
  for (const type of ["", "multipart/form-data", "application/x-www-form-urlencoded"]) server.upload(file("\ud800 Фото\r\n.txt", type), () => {});
  await settle();
  for (const { headers } of Request.all) {
    assert.equal(headers["Content-Type"], "application/octet-stream");
    assert.equal(decodeURIComponent(headers["X-File-Name"]), "\ufffd Фото\r\n.txt");
    assert.match(headers["X-File-Name"], /^[\x21-\x7e]+$/);
  }
});

test("a file waits for the session", async () => {
  const Request = requestClass();
  const mine = owner({ state: { state: "connecting" } });
  new FileServer("/chats/", mine, { XMLHttpRequest: Request }).upload(file(), () => {});
  await settle();
  assert.equal(Request.all.length, 0);
  mine.state = { state: "online" };
  mine.dispatchEvent(new Event("state"));
  await settle();
  assert.equal(Request.all.length, 1);
});

test("a token that changed on the way is tried once more", async () => {
  const Request = requestClass();
  const mine = owner();
  const { done } = new FileServer("/chats/", mine, { XMLHttpRequest: Request }).upload(file(), () => {});
  await settle();
  mine.token = "t2";
  Request.all[0].answer(403, { error: "forbidden", detail: "" });
  await settle();
  assert.equal(Request.all[1].headers.Authorization, "Bearer t2");
  Request.all[1].answer(403, { error: "forbidden", detail: "Not yours." });
  await assert.rejects(done, (error) => error instanceof UploadError && error.code === "forbidden" && error.message === "Not yours.");
});

test("what a server says about a file is shown, and what a proxy says is not", async () => {
  const Request = requestClass();
  const { done } = new FileServer("/chats/", owner(), { XMLHttpRequest: Request }).upload(file(), () => {});
  await settle();
  Request.all[0].answer(413, "<html>nginx</html>");
  await assert.rejects(done, /^UploadError: The file is too large\.$/);
  const again = new FileServer("/chats/", owner(), { XMLHttpRequest: Request }).upload(file(), () => {});
  await settle();
  Request.all[1].answer(413, { error: "too_large", detail: "A file may have at most 5 MB." });
  await assert.rejects(again.done, { code: "too_large", message: "A file may have at most 5 MB." });
});

test("an upload can be cancelled, before and while it runs", async () => {
  const Request = requestClass();
  const waiting = new FileServer("/chats/", owner({ state: { state: "offline" } }), { XMLHttpRequest: Request }).upload(file(), () => {});
  waiting.cancel();
  await assert.rejects(waiting.done, { code: "cancelled" });
  const running = new FileServer("/chats/", owner(), { XMLHttpRequest: Request }).upload(file(), () => {});
  await settle();
  running.cancel();
  await assert.rejects(running.done, { code: "cancelled" });
  assert.equal(Request.all[0].aborted, true);
});

test("a line that breaks is told, and another try brings the whole file", async () => {
  const Request = requestClass();
  const server = new FileServer("/chats/", owner(), { XMLHttpRequest: Request });
  const sent = file();
  const first = server.upload(sent, () => {});
  await settle();
  Request.all[0].upload.onprogress({ loaded: 3 });
  Request.all[0].fail();
  await assert.rejects(first.done, { code: "network", message: "The connection was lost." });
  const second = server.upload(sent, () => {});
  await settle();
  assert.deepEqual([Request.all.length, Request.all[1].method, Request.all[1].url], [2, "POST", "/chats/s1/files/"]);
  assert.equal(await Request.all[1].body.text(), "abcd");
  Request.all[1].answer(201, { id: "f1", name: "a.txt", mime: "text/plain", size: 4 });
  assert.equal((await second.done).id, "f1");
});

test("a file that this tab has never heard of is asked about, and a token that changed is tried again", async () => {
  const mine = owner();
  const asked = [];
  const headers = { "Content-Disposition": `inline; filename="sea.png"`, "Content-Type": "image/png", "Content-Length": "12" };
  const answers = [new Response(null, { status: 404 }), new Response(null, { status: 200, headers })];
  const server = new FileServer("/chats/", mine, {
    fetch: async (url, options) => {
      asked.push([options.method, url, options.headers.Authorization]);
      mine.token = "t2";
      return answers.shift();
    },
  });
  assert.deepEqual(await server.inquire("f 1"), { id: "f 1", name: "sea.png", mime: "image/png", size: 12 });
  assert.deepEqual(asked, [["HEAD", "/chats/s1/files/f%201/", "Bearer t1"], ["HEAD", "/chats/s1/files/f%201/", "Bearer t2"]]);
  assert.equal(server.describe("f 1").mime, "image/png");
});

test("a file that is not there is told once", async () => {
  let count = 0;
  const server = new FileServer("/chats/", owner(), { fetch: async () => (count++, new Response("no", { status: 404 })) });
  await assert.rejects(server.load(server.url("f1")), /^UploadError: The file could not be fetched\.$/);
  assert.equal(count, 1);
});

test("what is accepted: types, families of types, endings", () => {
  const csv = { name: "Table.CSV", type: "text/csv" };
  const png = { name: "a.png", type: "image/png" };
  for (const [accept, ...expected] of [
    [undefined, true, true],
    [[], true, true],
    [["*/*"], true, true],
    [["text/csv"], true, false],
    [["image/*"], false, true],
    [[".csv", ".tsv"], true, false],
    [{ "text/csv": [".csv"], "image/png": [] }, true, true],
    [{ "application/pdf": [".pdf"] }, false, false],
  ]) {
    assert.deepEqual([csv, png].map(acceptance(accept).matches), expected, JSON.stringify(accept));
  }
  assert.equal(acceptance({ "text/csv": [".csv"] }).attribute, ".csv");
});

test("only pixels are shown as an image", () => {
  assert.deepEqual(["image/png", "IMAGE/JPEG; q=1", "image/svg+xml", "text/html", ""].map(isRaster), [true, true, false, false, false]);
});

test("sizes in words", () => {
  assert.deepEqual([0, 12, 1500, 12_345, 999_999, 2_345_678, NaN].map(sizeWords), ["", "12 bytes", "1.5 kB", "12 kB", "1 MB", "2.3 MB", ""]);
});

test("the name in a header", () => {
  assert.equal(fileName(`attachment; filename="a \\"b\\".txt"`), `a "b".txt`);
  assert.equal(fileName("attachment; filename*=utf-8''%E2%82%AC.txt"), "€.txt");
  assert.equal(fileName("attachment; filename*=utf-8''%E2%28.txt"), null);
  assert.equal(fileName(null), null);
});

// --- the page around a frame ---

/** A window in a frame, and what its parent was told. */
function framed(origin) {
  const heard = [];
  const told = [];
  const inner = new EventTarget();
  inner.parent = { postMessage: (data, target) => told.push([data, target]) };
  const messages = new WindowMessages(inner, () => origin, (data) => heard.push(data));
  messages.listen();
  const say = (event) => inner.dispatchEvent(Object.assign(new Event("message"), { source: inner.parent, origin: "https://shop.example", data: "x", ...event }));
  return { messages, inner, heard, told, say };
}

test("a parent of the named origin is told and heard", () => {
  const { messages, heard, told, say } = framed("https://shop.example/");
  assert.equal(messages.post({ price: 3 }), true);
  assert.deepEqual(told, [[{ price: 3 }, "https://shop.example"]]);
  say({ data: { cart: [1] } });
  say({ data: undefined });
  assert.deepEqual(heard, [{ cart: [1] }, null]);
  messages.unlisten();
  say({});
  assert.equal(heard.length, 2);
});

test("nobody else is told or heard", () => {
  const { heard, say } = framed("https://shop.example");
  say({ origin: "https://evil.example" });
  say({ origin: "https://shop.example.evil.example" });
  say({ source: {} });
  assert.deepEqual(heard, []);
  for (const origin of [null, "", "*", "shop.example", "data:text/html,x", "null"]) {
    const other = framed(origin);
    assert.equal(other.messages.post("secret"), false, String(origin));
    other.say({ origin: "null" });
    assert.deepEqual([other.told, other.heard], [[], []]);
  }
  const { messages, inner, told } = framed("https://shop.example");
  inner.parent = inner; // not in a frame
  assert.equal(messages.post("x"), false);
  assert.deepEqual(told, []);
});
