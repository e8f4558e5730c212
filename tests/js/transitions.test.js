/** What listeners may do while something happens, and what the page and the machine around a client do to it. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatClient } from "../../frontend/client/client.ts";
import { CLOSED, step } from "../../frontend/client/session-machine.ts";
import { FakeStorage, FakeTimers, settle, socketClass } from "./fakes.js";

const WELCOME = { type: "welcome", session: "s1", token: "t1", resumed: false, reason: "new", received: 0, first: 1, head: 0, turn: null, heartbeat: 20, max_frame: 100_000 };
const RESUMED = { ...WELCOME, token: "t2", resumed: true, reason: null };

function load(options = {}) {
  const Socket = socketClass();
  const timers = new FakeTimers();
  const page = new EventTarget();
  const storage = options.storage ?? new FakeStorage();
  const client = new ChatClient("ws://test/ws/", { WebSocket: Socket, timers, page, storage, random: () => 1, BroadcastChannel: null, locks: null, language: "en", ...options });
  const meet = (welcome = WELCOME) => {
    Socket.last.open();
    Socket.last.push(welcome);
    return Socket.last;
  };
  return { client, Socket, timers, page, storage, meet };
}

function online(options) {
  const tab = load(options);
  tab.client.connect();
  tab.meet();
  return tab;
}

/** Do something once, when the client tells of it. */
function once({ client }, type, action, wanted = () => true) {
  client.addEventListener(type, function listener({ detail }) {
    if (!wanted(detail)) return;
    client.removeEventListener(type, listener);
    action();
  });
}

/** The client and its line agree, and nothing is left of what was before. */
function assertWhole({ client, Socket, timers }) {
  const open = Socket.all.filter(({ closedWith, readyState }) => closedWith === null && readyState < 2);
  assert.equal(open.length, ["connecting", "online"].includes(client.state.state) ? 1 : 0, client.state.state);
  if (client.state.state === "closed") assert.equal(timers.size, 0);
}

// --- listeners ---

const MOMENTS = {
  "comes online": [load, ({ client, meet }) => (client.connect(), meet()), "state", ({ state }) => state === "online"],
  "forgets a log": [load, ({ client, meet }) => (client.connect(), meet()), "reset"],
  "has caught up": [load, ({ client, meet }) => (client.connect(), meet()), "ready"],
  "loses its line": [online, ({ Socket }) => Socket.last.drop(), "state", ({ state }) => state === "offline"],
  "gives up what is too large": [
    online,
    ({ client, Socket }) => {
      client.sendMessage("x");
      Socket.last.drop(1009);
    },
    "notice",
  ],
  "is told the end": [online, ({ Socket }) => Socket.last.push({ type: "ended", reason: "user" }), "turn"],
  "is refused": [online, ({ Socket }) => Socket.last.drop(4502), "state"],
  "is replaced": [online, ({ Socket }) => Socket.last.drop(4509), "state"],
};

for (const [moment, [begin, happen, type, wanted]] of Object.entries(MOMENTS)) {
  test(`a client that is closed by a listener when it ${moment} is closed`, () => {
    const tab = begin();
    once(tab, type, () => tab.client.close(), wanted);
    happen(tab);
    assert.ok(["closed", "ended", "refused", "replaced"].includes(tab.client.state.state), tab.client.state.state);
    assertWhole(tab);
    const sockets = tab.Socket.all.length;
    tab.timers.advance(120_000);
    assert.equal(tab.Socket.all.length, sockets);
  });

  test(`a new session that a listener begins when a client ${moment} has its line to itself`, () => {
    const tab = begin();
    once(tab, type, () => tab.client.newSession(), wanted);
    happen(tab);
    assert.equal(tab.client.state.state, "connecting");
    assertWhole(tab);
    const sockets = tab.Socket.all.length;
    tab.meet({ ...WELCOME, session: "s2" });
    assert.deepEqual([tab.client.state.state, tab.client.session], ["online", "s2"]);
    for (let beat = 0; beat < 6; beat++) {
      tab.timers.advance(20_000);
      tab.Socket.last.push({ type: "pong", head: 0 });
    }
    assert.equal(tab.Socket.all.length, sockets, "no attempt from before takes the line away");
    assertWhole(tab);
  });
}

test("listeners are told in the order of what happened, whatever one of them does", () => {
  const tab = load();
  const told = [];
  for (const type of ["state", "reset", "ready"]) tab.client.addEventListener(type, ({ detail }) => told.push(detail.state ?? type));
  once(tab, "state", () => tab.client.close(), ({ state }) => state === "online");
  tab.client.connect();
  tab.meet();
  assert.deepEqual(told, ["connecting", "reset", "online", "ready", "closed"]);
});

test("the machine is pure: a state is not changed, and the same gives the same", () => {
  const frozen = (line) => Object.freeze({ ...line, told: Object.freeze(line.told) });
  const inputs = [
    ...["connect", "redial", "restart", "close", "end", "settled", "woke"].map((type) => ({ type })),
    { type: "welcomed", resumed: true },
    { type: "error", error: { reason: "forbidden" } },
    ...[1006, 1009, 4000, 4500, 4502, 4503, 4509].map((code) => ({ type: "closed", code })),
    { type: "dropped" },
    { type: "offline" },
    { type: "ended", reason: "user" },
    { type: "failed", detail: "no" },
  ];
  let states = new Map([[JSON.stringify(CLOSED), frozen(CLOSED)]]);
  for (let depth = 0; depth < 4; depth++) {
    for (const line of [...states.values()]) {
      for (const input of inputs) {
        const [next, effects] = step(line, input, 0.5);
        assert.deepEqual(step(line, input, 0.5), [next, effects]);
        const dials = effects.includes("dial");
        if (dials) assert.ok(effects.indexOf("hangUp") < effects.indexOf("dial"), "two lines at once");
        if (next.told.state !== line.told.state) assert.equal(dials, next.told.state === "connecting");
        assert.equal(effects.includes("retry"), next.told.state === "offline" && next !== line && next.told !== line.told);
        if (next.welcomed) assert.equal(next.told.state, "online");
        states.set(JSON.stringify(next), frozen(next));
      }
    }
  }
  assert.ok(states.size > 100);
});

// --- the page and the machine around it ---

test("a client that is offline knows it at once, and comes back with the network", () => {
  const { client, Socket, page, meet } = online();
  page.dispatchEvent(new Event("offline"));
  assert.equal(client.state.state, "offline");
  assert.equal(Socket.last.closedWith, 1000);
  page.dispatchEvent(new Event("online"));
  assert.equal(client.state.state, "connecting");
  meet(RESUMED);
  assert.equal(client.state.state, "online");
});

test("a network that goes while nothing is connected changes nothing", () => {
  const { client, Socket, page } = online();
  Socket.last.drop(4509);
  page.dispatchEvent(new Event("offline"));
  assert.equal(client.state.state, "replaced");
});

test("a client that is closed when it is over stays over, and can begin anew", () => {
  for (const [code, state] of [[4509, "replaced"], [4503, "ended"], [4502, "refused"]]) {
    const tab = online();
    tab.Socket.last.drop(code);
    tab.client.close();
    assert.equal(tab.client.state.state, state);
    tab.page.dispatchEvent(new Event("online"));
    assert.equal(tab.Socket.all.length, 1, "it hears nothing any more");
    tab.client.newSession();
    tab.meet();
    tab.page.dispatchEvent(new Event("offline"));
    assert.equal(tab.client.state.state, "offline", "it hears the page again");
  }
});

const broken = (...names) =>
  class {
    constructor() {
      for (const name of names) {
        this[name] = () => {
          throw new Error("no");
        };
      }
    }
    postMessage() {}
    close() {}
  };

for (const names of [["postMessage"], ["close"], ["postMessage", "close"]]) {
  for (const locks of [null, { request: () => Promise.reject(Object.assign(new Error("no"), { name: "SecurityError" })) }]) {
    test(`a channel whose ${names.join(" and ")} throws keeps nobody waiting, ${locks ? "locks forbidden" : "without locks"}`, async () => {
      const options = { BroadcastChannel: broken(...names), locks };
      const tab = online(options);
      await settle();
      tab.client.close();
      assert.equal(tab.client.state.state, "closed");
      tab.client.connect();
      tab.Socket.last.open();
      await settle();
      tab.timers.advance(150);
      tab.Socket.last.push(RESUMED);
      assert.equal(tab.client.state.state, "online");
    });
  }
}

test("locks that throw keep nobody waiting", async () => {
  const locks = {
    request() {
      throw new Error("no");
    },
  };
  const { storage } = online({ locks });
  const again = load({ storage, locks });
  again.client.connect();
  again.Socket.last.open();
  await settle();
  assert.equal(again.Socket.last.of("hello")[0]?.session, "s1");
});

/** Have a document that is hidden, or not, while something happens. */
function withDocument(visibilityState, happen) {
  globalThis.document = { visibilityState, baseURI: "http://test/" };
  try {
    return happen();
  } finally {
    delete globalThis.document;
  }
}

test("a page that is hidden tells the server how long it may be silent, and takes it back when it is seen", () => {
  const { Socket, page, timers } = online();
  withDocument("hidden", () => page.dispatchEvent(new Event("visibilitychange")));
  assert.deepEqual(Socket.last.of("ping"), [{ type: "ping", silence: 75 }]);
  Socket.last.push({ type: "pong", head: 0 });
  withDocument("hidden", () => timers.advance(20_000));
  assert.deepEqual(Socket.last.of("ping").at(-1), { type: "ping", silence: 75 });
  Socket.last.push({ type: "pong", head: 0 });
  withDocument("visible", () => page.dispatchEvent(new Event("visibilitychange")));
  assert.deepEqual(Socket.last.of("ping").at(-1), { type: "ping" });
});

test("a page that is hidden from the beginning tells it with its first frame behind the welcome", () => {
  const tab = withDocument("hidden", () => online());
  assert.deepEqual(tab.Socket.last.of("ping"), [{ type: "ping", silence: 75 }]);
});

test("a long replay goes on while its page is looked at, left and looked at again", () => {
  const tab = online();
  const entry = (seq) => ({ type: "event", seq, name: "message", data: { id: `m${seq}`, content: "", streaming: false } });
  const socket = tab.Socket.last;
  for (let seq = 1; seq <= 4; seq++) {
    socket.push(entry(seq));
    withDocument(seq % 2 ? "hidden" : "visible", () => tab.page.dispatchEvent(new Event("visibilitychange")));
    socket.push({ type: "pong", head: 100 });
    assert.deepEqual([tab.client.state.state, socket.of("ping").length], ["online", seq]);
  }
  // A silent line is another thing.
  tab.timers.advance(20_000);
  socket.push({ type: "pong", head: 100 });
  assert.equal(tab.client.state.state, "offline");
});

test("a clock that is set back stops no ping", async (context) => {
  const Socket = socketClass();
  const client = new ChatClient("ws://test/ws/", { WebSocket: Socket, page: null, storage: null, BroadcastChannel: null, locks: null });
  context.after(() => client.close());
  client.connect();
  Socket.last.open();
  Socket.last.push({ ...WELCOME, heartbeat: 0.2 });
  const real = Date.now;
  context.after(() => (Date.now = real));
  Date.now = () => real() - 3_600_000;
  const until = performance.now() + 20_000;
  while (!Socket.last.of("ping").length && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(Socket.last.of("ping").length);
});

// --- a slow uplink ---

test("what is on its way for long is not sent again, wherever it waits", () => {
  const { client, Socket, timers } = online();
  client.sendMessage("a large one");
  timers.advance(14_000);
  assert.deepEqual([Socket.last.of("event").length, Socket.last.of("ping").length], [1, 1]);
  client.sendMessage("another");
  Socket.last.push({ type: "accepted", n: 1, seq: 1 }, { type: "pong", head: 1 });
  timers.advance(4_999);
  assert.equal(Socket.last.of("event").length, 2, "the second was sent behind the ping");
  timers.advance(1);
  Socket.last.push({ type: "pong", head: 1 });
  assert.equal(Socket.last.of("event").length, 3, "it has arrived, and was not taken");
});

test("a line that takes long for what was sent lives while less and less of it is left", () => {
  const { client, Socket, timers } = online();
  client.sendMessage("a large one");
  for (Socket.last.bufferedAmount = 50_000; Socket.last.bufferedAmount > 0; Socket.last.bufferedAmount -= 5_000) timers.advance(9_000);
  assert.deepEqual([client.state.state, Socket.all.length], ["online", 1]);
  assert.equal(Socket.last.of("event").length, 1);
});

test("a line that takes nothing more is left", () => {
  const { client, Socket, timers } = online();
  client.sendMessage("a large one");
  Socket.last.bufferedAmount = 50_000;
  timers.advance(30_000);
  assert.equal(client.state.state, "offline");
});

// --- what is remembered ---

/** A storage with room for so many characters. */
class SmallStorage extends FakeStorage {
  constructor(room) {
    super();
    this.room = room;
  }
  setItem = (key, value) => {
    const others = [...this.items].filter(([name]) => name !== key).reduce((sum, [, text]) => sum + text.length, 0);
    if (others + value.length > this.room) throw Object.assign(new Error("full"), { name: "QuotaExceededError" });
    this.items.set(key, String(value));
  };
}

test("a storage without room for what waits is told of, once, and again after there was room", () => {
  const tab = online({ storage: new SmallStorage(1_000) });
  const notices = [];
  tab.client.addEventListener("notice", ({ detail }) => notices.push(detail));
  tab.Socket.last.drop();
  tab.client.sendMessage("short");
  assert.deepEqual(notices, []);
  tab.client.sendMessage("x".repeat(2_000));
  tab.client.sendMessage("short");
  assert.deepEqual(notices, [{ code: "storage_full" }]);
  tab.timers.advance(1_000);
  tab.meet(RESUMED);
  for (const n of [1, 2, 3]) tab.Socket.last.push({ type: "accepted", n, seq: n });
  assert.deepEqual([tab.client.pending, notices.length], [[], 1]);
  tab.client.sendMessage("x".repeat(2_000));
  assert.equal(notices.length, 2);
});

test("a page without any storage is not told that it is full", () => {
  const tab = online({ storage: null });
  const notices = [];
  tab.client.addEventListener("notice", ({ detail }) => notices.push(detail));
  tab.client.sendMessage("short");
  assert.deepEqual(notices, []);
});

test("an end that was asked for without a line survives a reload", () => {
  const tab = online();
  tab.Socket.last.drop();
  tab.client.end();
  const again = load({ storage: tab.storage });
  again.client.connect();
  const socket = again.meet(RESUMED);
  assert.equal(socket.of("end").length, 1);
  socket.push({ type: "ended", reason: "user" });
  const third = load({ storage: tab.storage });
  third.client.connect();
  assert.equal(third.meet(RESUMED).of("end").length, 0, "it is done once");
});

test("an end that was asked for is not that of the next conversation", () => {
  const tab = online();
  tab.Socket.last.drop();
  tab.client.end();
  const again = load({ storage: tab.storage });
  again.client.connect();
  assert.equal(again.meet({ ...WELCOME, session: "s2", reason: "expired" }).of("end").length, 0);
  const third = load({ storage: tab.storage });
  third.client.connect();
  assert.equal(third.meet({ ...RESUMED, session: "s2" }).of("end").length, 0);
});
