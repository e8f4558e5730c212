/** Several chats in one browser: each has a conversation of its own, duplicates of a tab included. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatClient } from "../../frontend/client/client.ts";
import { FakeStorage, FakeTimers, settle, socketClass } from "./fakes.js";

const WELCOME = { type: "welcome", session: "s1", token: "t1", resumed: false, reason: "new", received: 0, first: 1, head: 0, turn: null, heartbeat: 20, max_frame: 1000, owner: "" };

/** The locks of one browser. */
class Locks {
  held = new Set();
  waiting = [];

  request(name, { signal }, granted) {
    return new Promise((resolve, reject) => {
      const ask = { name, begin: () => this.begin(name, granted, resolve) };
      signal.addEventListener("abort", () => {
        const index = this.waiting.indexOf(ask);
        if (index < 0) return;
        this.waiting.splice(index, 1);
        reject(Object.assign(new Error("aborted"), { name: "AbortError" }));
      });
      if (this.held.has(name)) this.waiting.push(ask);
      else ask.begin();
    });
  }

  begin(name, granted, resolve) {
    this.held.add(name);
    Promise.resolve().then(granted).then(() => {
      this.held.delete(name);
      const index = this.waiting.findIndex((ask) => ask.name === name);
      if (index >= 0) this.waiting.splice(index, 1)[0].begin();
      resolve();
    });
  }
}

function copyOf(storage) {
  const copy = new FakeStorage();
  copy.items = new Map(storage.items);
  return copy;
}

/** A page that is loaded in a tab. */
function load(locks, storage, options = {}) {
  const Socket = socketClass();
  const timers = new FakeTimers();
  const page = new EventTarget();
  const client = new ChatClient("ws://test/ws/", { WebSocket: Socket, timers, page, storage, random: () => 1, BroadcastChannel: null, locks, ...options });
  client.connect();
  Socket.last.open();
  return { client, Socket, timers, page, storage, hello: () => Socket.last.sent[0] };
}

async function original(locks, options) {
  const tab = load(locks, new FakeStorage(), options);
  tab.Socket.last.push(WELCOME);
  await settle();
  return tab;
}

test("a duplicated tab begins a conversation of its own, and sends nothing that waits in the other", async () => {
  const locks = new Locks();
  const tab = await original(locks);
  tab.Socket.last.drop();
  tab.client.send("message", { content: "once" });
  const copy = load(locks, copyOf(tab.storage));
  await settle();
  assert.equal(copy.hello(), undefined); // it asks first
  copy.timers.advance(300);
  await settle();
  assert.equal(copy.hello().session, undefined);
  copy.Socket.last.push({ ...WELCOME, session: "s2", token: "t2" });
  assert.deepEqual([copy.client.session, copy.client.pending], ["s2", []]);
  assert.equal(tab.client.pending.length, 1);
  await settle();
  const reloaded = load(locks, copy.storage, { page: null });
  assert.equal(JSON.parse(copy.storage.getItem("chatsessions:ws://test/ws/")).session, "s2");
  reloaded.client.close();
});

test("what is written in a duplicate before it knows is its own", async () => {
  const locks = new Locks();
  const tab = await original(locks);
  tab.Socket.last.drop();
  tab.client.send("message", { content: "the other's" });
  const copy = load(locks, copyOf(tab.storage));
  copy.client.send("message", { content: "mine" });
  copy.timers.advance(300);
  await settle();
  copy.Socket.last.push({ ...WELCOME, session: "s2" });
  assert.deepEqual(copy.Socket.last.of("event").map(({ n, data }) => [n, data.content]), [[1, "mine"]]);
});

test("a reload goes on with its conversation, however slowly the page before it goes", async () => {
  const locks = new Locks();
  const tab = await original(locks);
  const before = locks.held.size;
  tab.page.dispatchEvent(new Event("pagehide"));
  await settle();
  assert.deepEqual([before, locks.held.size], [1, 0]);
  locks.held.add("chatsessions:s1"); // as if it were there still
  const again = load(locks, tab.storage);
  again.timers.advance(4_000);
  await settle();
  assert.equal(again.hello(), undefined);
  locks.held.delete("chatsessions:s1");
  locks.waiting.shift().begin();
  await settle();
  assert.equal(again.hello().session, "s1");
});

test("a tab that a browser restores after a crash goes on with its conversation", async () => {
  const tab = await original(new Locks());
  const restored = load(new Locks(), copyOf(tab.storage));
  await settle();
  assert.equal(restored.hello().session, "s1");
});

test("a line that breaks is not another tab", async () => {
  const tab = await original(new Locks());
  tab.Socket.last.drop();
  tab.timers.advance(tab.client.state.retryIn * 1000);
  tab.Socket.last.open();
  assert.equal(tab.hello().session, "s1");
});

test("a page that comes back as it was left goes on", async () => {
  const tab = await original(new Locks());
  tab.page.dispatchEvent(new Event("pagehide"));
  tab.Socket.last.drop();
  tab.page.dispatchEvent(new Event("pageshow"));
  tab.Socket.last.open();
  await settle();
  assert.equal(tab.hello().session, "s1");
  assert.equal(tab.storage.getItem("chatsessions:ws://test/ws/:left"), null);
});

/** A page is left for another one of the same tab and chat, which goes on with the session; the first is kept as it is. */
async function leftFor(locks) {
  const tab = await original(locks);
  tab.page.dispatchEvent(new Event("pagehide"));
  tab.Socket.last.drop();
  await settle();
  const next = load(locks, tab.storage);
  await settle();
  assert.equal(next.hello().token, "t1");
  next.Socket.last.push({ ...WELCOME, token: "t2", resumed: true, reason: null });
  await settle();
  const back = async () => {
    next.page.dispatchEvent(new Event("pagehide"));
    next.Socket.last.drop();
    tab.page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
    tab.Socket.last.open();
    await settle();
  };
  return { tab, next, back };
}

for (const locksOf of [() => new Locks(), () => null]) {
  const where = locksOf() ? "with locks" : "without locks";

  test(`a page that comes back as it was left has the token that another page of the tab was given, ${where}`, async () => {
    const { tab, back } = await leftFor(locksOf());
    await back();
    assert.deepEqual([tab.hello().session, tab.hello().token], ["s1", "t2"]);
  });

  test(`a page that comes back as it was left sends what another page of the tab could not, ${where}`, async () => {
    const { tab, next, back } = await leftFor(locksOf());
    next.Socket.last.drop();
    next.client.send("message", { content: "no line" });
    await back();
    tab.Socket.last.push({ ...WELCOME, token: "t3", resumed: true, reason: null });
    assert.deepEqual(tab.Socket.last.of("event").map(({ n, data }) => [n, data.content]), [[1, "no line"]]);
  });
}

test("a page that comes back as it was left takes nothing of another conversation, and keeps what waits without a storage", async () => {
  const { tab, next, back } = await leftFor(null);
  next.client.newSession();
  next.Socket.last.open();
  next.Socket.last.push({ ...WELCOME, session: "s2", token: "t9" });
  next.client.send("message", { content: "theirs" });
  await back();
  assert.deepEqual([tab.hello().session, tab.hello().token, tab.client.pending], ["s1", "t1", []]);
  const alone = load(null, null);
  alone.client.send("message", { content: "mine" });
  alone.page.dispatchEvent(new Event("pagehide"));
  alone.page.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  assert.equal(alone.client.pending.length, 1);
});

test("where locks are forbidden a page goes on", async () => {
  const forbidden = { request: () => Promise.reject(Object.assign(new Error("no"), { name: "SecurityError" })) };
  const tab = await original(forbidden);
  const again = load(forbidden, tab.storage);
  await settle();
  assert.equal(again.hello().session, "s1");
});

test("a closed client leaves its session to others, and no timer", async () => {
  const locks = new Locks();
  const tab = await original(locks);
  tab.client.close();
  await settle();
  assert.deepEqual([locks.held.size, tab.timers.size], [0, 0]);
  const next = load(locks, tab.storage);
  await settle();
  assert.equal(next.hello().session, "s1");
  next.client.close();
  assert.equal(next.timers.size, 0);
});

test("chats of one address on a page have a memory each", async () => {
  const storage = new FakeStorage();
  const locks = new Locks();
  for (const [key, session] of [["", "s1"], ["2", "s2"], ["id=desk", "s3"]]) {
    const tab = load(locks, storage, { key });
    assert.equal(tab.hello()?.session, undefined);
    tab.Socket.last.push({ ...WELCOME, session });
    tab.client.storage.keep("draft", session);
    tab.client.close();
  }
  await settle();
  for (const [key, session] of [["", "s1"], ["2", "s2"], ["id=desk", "s3"]]) {
    const { client } = load(null, storage, { key });
    assert.deepEqual([client.session, client.storage.recall("draft")], [session, session]);
  }
});

// --- without locks: on a page without TLS ---

/** The channel of one browser. */
function channelClass() {
  return class Channel {
    static all = new Set();

    constructor() {
      this.constructor.all.add(this);
    }

    postMessage(data) {
      for (const other of this.constructor.all) if (other !== this) queueMicrotask(() => other.onmessage?.({ data }));
    }

    close() {
      this.constructor.all.delete(this);
    }
  };
}

/** A channel that never carries anything, or is forbidden. */
const SILENT = class {
  postMessage() {}
  close() {}
};
const FORBIDDEN = class {
  constructor() {
    throw new Error("no");
  }
};
const BROKEN = class extends SILENT {
  postMessage() {
    throw new Error("no");
  }
};

test("without locks a duplicate of a tab takes the conversation, and the first can take it back", async () => {
  const BroadcastChannel = channelClass();
  const tab = await original(null, { BroadcastChannel });
  const copy = load(null, copyOf(tab.storage), { BroadcastChannel });
  assert.deepEqual([copy.hello().session, copy.hello().token], ["s1", "t1"]);
  copy.Socket.last.push({ ...WELCOME, token: "t2", resumed: true });
  tab.Socket.last.drop(4509);
  await settle();
  assert.equal(tab.client.state.state, "replaced");
  tab.client.connect();
  tab.Socket.last.open();
  assert.deepEqual([tab.hello().session, tab.hello().token], ["s1", "t2"]); // it has heard the new one
});

for (const [name, BroadcastChannel] of [["is missing", null], ["never carries anything", SILENT], ["is forbidden", FORBIDDEN], ["throws", BROKEN]]) {
  test(`without locks a channel that ${name} keeps nobody waiting`, async () => {
    const tab = await original(null, { BroadcastChannel });
    const again = load(null, tab.storage, { BroadcastChannel });
    assert.equal(again.hello().session, "s1");
    again.client.close();
    assert.equal(again.timers.size, 0);
  });
}
