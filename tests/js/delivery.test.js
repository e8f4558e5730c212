import assert from "node:assert/strict";
import { test } from "node:test";

import { backoff } from "../../frontend/client/delivery/backoff.ts";
import { byteLength, createOutbox } from "../../frontend/client/delivery/outbox.ts";
import { ReplayCursor } from "../../frontend/client/delivery/replay-cursor.ts";
import { Streams } from "../../frontend/client/delivery/streams.ts";
import { tabStorage, websocketUrl } from "../../frontend/client/tab-storage.ts";
import { FakeStorage } from "./fakes.js";

const event = (content) => ({ type: "event", name: "message", data: { content } });
const numbers = (frames) => frames.map(({ n }) => n);
const contents = (frames) => frames.map(({ data }) => data.content);

function outbox(...texts) {
  const box = createOutbox();
  for (const text of texts) box.push(event(text));
  return box;
}

test("frames are numbered 1, 2, 3", () => {
  assert.deepEqual(numbers(outbox("a", "b", "c").items), [1, 2, 3]);
});

test("each frame is written once, and no further than the window", () => {
  const box = outbox("a", "b", "c");
  assert.deepEqual(numbers(box.take(2)), [1, 2]);
  assert.deepEqual(numbers(box.take(2)), []);
  box.accept(1);
  assert.deepEqual(numbers(box.take(2)), [3]);
});

test("numbering goes on behind accepted frames", () => {
  const box = outbox("a");
  box.accept(1);
  assert.equal(box.push(event("b")).n, 2);
});

test("a rewind writes everything unaccepted again", () => {
  const box = outbox("a", "b", "c");
  box.take(9);
  box.accept(1);
  box.rewind();
  assert.deepEqual(numbers(box.take(9)), [2, 3]);
});

test("after a resume, only what lies beyond the server's count is written", () => {
  const box = outbox("a", "b", "c");
  box.resume(2);
  assert.deepEqual(contents(box.take(9)), ["c"]);
  assert.deepEqual(contents(box.items), ["a", "b", "c"], "the others wait for the replay to show them");
  box.settle();
  assert.deepEqual(contents(box.items), ["c"]);
});

test("of what the server has stored, only what may be ours waits for the replay to show it", () => {
  const box = outbox("a", "b", "c");
  box.resume(9, 1);
  assert.deepEqual(box.take(9).map(({ n, data }) => [n, data.content]), [[10, "b"], [11, "c"]]);
  assert.deepEqual(contents(box.items), ["a", "b", "c"]);
  box.settle();
  assert.deepEqual(contents(box.items), ["b", "c"]);
});

test("a server that counts less than we do gets what it lacks, numbered on from there", () => {
  const box = outbox("a", "b");
  box.accept(1);
  box.resume(0);
  assert.deepEqual(box.take(9).map(({ n, data }) => [n, data.content]), [[1, "b"]]);
});

test("a new session numbers what is left from 1", () => {
  const box = outbox("a", "b", "c");
  box.accept(1);
  box.restart();
  assert.deepEqual(box.take(9).map(({ n, data }) => [n, data.content]), [[1, "b"], [2, "c"]]);
});

test("a reload keeps the numbers of what waits for the replay to show it", () => {
  const box = createOutbox([{ ...event("a"), n: 1 }, { ...event("d"), n: 4 }, { ...event("e"), n: 5 }]);
  box.resume(4);
  assert.deepEqual(box.take(9).map(({ n, data }) => [n, data.content]), [[5, "e"]]);
});

test("a reload goes on counting behind frames that were accepted after one that waits", () => {
  const box = createOutbox([{ ...event("b"), n: 2 }], 5);
  assert.equal(box.push(event("e")).n, 5);
});

test("a refused frame leaves no hole in the numbers", () => {
  const box = outbox("a", "b", "c");
  box.take(9);
  assert.equal(box.refuse(2).data.content, "b");
  assert.deepEqual(box.take(9).map(({ n, data }) => [n, data.content]), [[2, "c"]]);
  assert.equal(box.push(event("d")).n, 3);
});

test("an accepted frame can't be refused any more", () => {
  const box = outbox("a");
  box.resume(1);
  assert.equal(box.refuse(1), undefined);
});

test("the number the server expects is where writing goes on", () => {
  const box = outbox("a", "b", "c");
  box.take(9);
  box.rewind(2);
  assert.deepEqual(numbers(box.take(9)), [2, 3]);
});

/** What one of two devices has sent with the number 1, and what the log says of it. */
const FRAMES = {
  message: [
    { type: "event", name: "message", data: { id: "m1", content: "a" } },
    { name: "message", data: { id: "m1", content: "a" } },
  ],
  action: [
    { type: "event", name: "action", data: { id: "a1", name: "go", payload: {} } },
    { name: "action", data: { id: "a1", name: "go", payload: {}, label: "Go", message: "m0" } },
  ],
  "another action": [
    { type: "event", name: "action", data: { id: "a2", name: "go", payload: {} } },
    { name: "action", data: { id: "a2", name: "go", payload: {}, label: "Go", message: "m0" } },
  ],
  settings: [
    { type: "event", name: "settings", data: { tone: "kind" } },
    { name: "settings", data: { tone: "kind" } },
  ],
  answer: [
    { type: "answer", call: "c1", data: { content: "Ada" } },
    { name: "answer", data: { call: "c1", data: { content: "Ada" } } },
  ],
  "answer to another question": [
    { type: "answer", call: "c2", data: { content: "Ada" } },
    { name: "answer", data: { call: "c2", data: { content: "Ada" } } },
  ],
  "event of one's own": [{ type: "event", name: "step", data: undefined }, { name: "step", data: null }],
};

for (const [mine, [frame]] of Object.entries(FRAMES)) {
  for (const [theirs, [, entry]] of Object.entries(FRAMES)) {
    test(`of two devices that count from one number: ${mine}, and in the log ${theirs}`, () => {
      const box = createOutbox();
      box.push(frame);
      box.resume(1);
      box.confirm(1, entry);
      assert.deepEqual(numbers(box.take(9)), mine === theirs ? [] : [2]);
    });
  }
}

test("the largest frame on the line is found by its bytes", () => {
  const box = outbox("aaaa", "ééé", "b");
  box.take(2);
  assert.equal(box.largestWritten().data.content, "ééé");
  assert.equal(byteLength({ a: "é" }), 10);
});

test("a parked entry comes out when its turn has come, and is received then", () => {
  const cursor = new ReplayCursor();
  cursor.park({ seq: 2, name: "message", data: {} });
  assert.equal(cursor.next(), undefined);
  cursor.received = 1;
  assert.equal(cursor.next().seq, 2);
  assert.equal(cursor.received, 2);
  assert.equal(cursor.next(), undefined);
});

const opening = { seq: 1, name: "message", data: { id: "m", streaming: true } };

test("a stream takes its pieces in order and once", () => {
  const streams = new Streams();
  streams.follow(opening);
  assert.deepEqual([0, 0, 1, 3].map((index) => streams.take("m", index)), [true, false, true, false]);
});

test("a stream goes on where it is put", () => {
  const streams = new Streams();
  streams.follow(opening);
  streams.set("m", 7);
  assert.deepEqual([6, 7, 8].map((index) => streams.take("m", index)), [false, true, true]);
});

test("a stream ends with an update or a removal, and starts again at 0", () => {
  const streams = new Streams();
  for (const closing of [{ name: "message_update", data: { id: "m", streaming: false } }, { name: "message_remove", data: { id: "m" } }]) {
    streams.follow(opening);
    streams.take("m", 0);
    streams.follow({ seq: 2, ...closing });
    assert.equal(streams.take("m", 1), false);
    streams.follow({ ...opening, name: "message_update" });
    assert.equal(streams.take("m", 0), true);
    streams.follow({ seq: 2, ...closing });
  }
});

test("a step that goes on after a change counts anew, and ends as it says", () => {
  const streams = new Streams();
  streams.follow({ seq: 1, name: "step", data: { id: "s", streaming: true } });
  assert.deepEqual([0, 1].map((index) => streams.take("s", index)), [true, true]);
  streams.follow({ seq: 2, name: "step_update", data: { id: "s", streaming: true } });
  assert.deepEqual([2, 0].map((index) => streams.take("s", index)), [false, true]);
  for (const closing of [{ name: "step_update", data: { id: "s", streaming: false } }, { name: "step_remove", data: { id: "s" } }]) {
    streams.follow({ seq: 3, ...closing });
    assert.equal(streams.take("s", 1), false);
    streams.follow({ seq: 4, name: "step_update", data: { id: "s", streaming: true } });
    assert.equal(streams.take("s", 0), true);
  }
});

test("a change of what a person wrote ends no stream that has its id", () => {
  const streams = new Streams();
  streams.follow(opening);
  for (const name of ["message_update", "message_remove"]) streams.follow({ seq: 2, name, data: { id: "m", n: 1 } });
  assert.equal(streams.take("m", 0), true);
});

test("pieces of an unknown stream wait for it to be told", () => {
  assert.equal(new Streams().take("m", 0), false);
});

test("the back-off doubles its ceiling up to the cap, and jitters over all of it", () => {
  assert.deepEqual(Array.from({ length: 8 }, (_, attempt) => backoff(attempt, 1)), [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
  assert.equal(backoff(0, 0), 0);
});

const remembered = { session: "s", token: "t", next: 3, pending: [{ type: "event", n: 2, name: "message", data: {} }] };

test("the tab's storage keeps what it is given, per address", () => {
  const storage = new FakeStorage();
  tabStorage("ws://a/", storage).save(remembered);
  assert.deepEqual(tabStorage("ws://a/", storage).load(), remembered);
  assert.equal(tabStorage("ws://b/", storage).load().session, null);
});

for (const garbage of ["", "{", "null", "7", "[]", '{"session": 1, "token": {}, "next": -1, "pending": "x"}', '{"pending": [null, {"n": "1"}, {"n": 1}]}']) {
  test(`the tab's storage survives ${garbage || "nothing"}`, () => {
    const storage = new FakeStorage();
    storage.setItem("chatsessions:ws://a/", garbage);
    assert.deepEqual(tabStorage("ws://a/", storage).load(), { session: null, token: null, next: 1, pending: [] });
  });
}

test("the tab's storage survives a storage that throws", () => {
  const refuse = () => {
    throw new Error("forbidden");
  };
  const tab = tabStorage("ws://a/", { getItem: refuse, setItem: refuse, removeItem: refuse });
  tab.save(remembered);
  tab.keep("draft", "x");
  assert.equal(tab.load().session, null);
  assert.equal(tab.recall("draft"), null);
});

test("the tab's storage without room keeps the way back into the session", () => {
  const storage = new FakeStorage();
  const keep = storage.setItem;
  storage.setItem = (key, value) => {
    if (value.length > 100) throw new Error("QuotaExceededError");
    keep(key, value);
  };
  const tab = tabStorage("ws://a/", storage);
  tab.save({ ...remembered, pending: [{ type: "event", n: 2, name: "message", data: { content: "x".repeat(200) } }] });
  assert.deepEqual(tab.load(), { ...remembered, pending: [] });
});

test("relative addresses belong to the page's origin", () => {
  assert.equal(websocketUrl("/ws/counter/", "https://example.com/chat/?a#b"), "wss://example.com/ws/counter/");
  assert.equal(websocketUrl("/ws/counter/", "http://localhost:8000/"), "ws://localhost:8000/ws/counter/");
  assert.equal(websocketUrl("wss://other.example/ws/", "http://localhost/"), "wss://other.example/ws/");
});
