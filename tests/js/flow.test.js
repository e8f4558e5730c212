/**
 * Many events at once, against a server that takes only so many: the limits are those of the real
 * one, and so are its answers. Each event arrives once and in order, hardly any is sent twice, and
 * the line is never closed for it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatClient } from "../../frontend/client/client.ts";
import { FakeStorage, FakeTimers } from "./fakes.js";

/** @typedef {{rate: number, burst: number, pending: number, handles: number, latency: number, stores: number, window?: number}} Limits */

/** One session of a server, as docs/protocol.md and docs/security.md say it. Times in milliseconds. */
class Server {
  log = [];
  waiting = 0;
  tokens;
  refilled = 0;
  strikes = 0;
  refusal = null;
  until = 0;
  frames = 0;
  mostAtOnce = 0;
  accepted = 0;
  closed = null;
  unreadable = 0;

  /** @param {FakeTimers} timers @param {Limits} limits @param {(frame: any) => boolean} reads whether it can read a frame */
  constructor(timers, limits, reads = () => true) {
    this.timers = timers;
    this.limits = limits;
    this.tokens = limits.burst;
    this.reads = reads;
  }

  take({ type, n, data, name }, answer) {
    if (type === "ping") return answer({ type: "pong", head: 0 });
    if (type !== "event") return undefined;
    this.frames += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, n - this.told);
    if (!this.reads({ name, data })) {
      this.unreadable += 1;
      answer({ type: "error", code: "bad_frame", detail: "invalid", n });
      return this.unreadable >= 10 ? answer({ close: 4500 }) : undefined;
    }
    const now = this.timers.now();
    if (n <= this.accepted) return n <= this.told ? answer({ type: "accepted", n, seq: n }) : undefined;
    if (n > this.accepted + 1) {
      if (this.refusal && now < this.until) return answer({ ...this.refusal, n, retry_after: Math.ceil(this.until - now) / 1000 });
      return answer({ type: "error", code: "n_gap", n: this.accepted + 1, detail: "" });
    }
    if (this.waiting >= this.limits.pending) return this.refuse(answer, "busy", n, 1000);
    this.tokens = Math.min(this.limits.burst, this.tokens + ((now - this.refilled) * this.limits.rate) / 1000);
    this.refilled = now;
    if (this.tokens < 1 - 1e-6) {
      this.strikes += 1;
      if (this.strikes > 10) return answer({ close: 4013 });
      return this.refuse(answer, "rate_limited", n, (1000 * (1 - this.tokens)) / this.limits.rate);
    }
    this.tokens -= 1;
    this.strikes = 0;
    this.refusal = null;
    this.accepted = n;
    this.waiting += 1;
    this.log.push(data.number);
    this.handleNext();
    this.timers.setTimeout(() => answer({ type: "accepted", n, seq: n }, () => (this.told = n)), this.limits.stores);
    return undefined;
  }

  told = 0;

  refuse(answer, code, n, wait) {
    this.refusal = { type: "error", code, detail: "" };
    this.until = this.timers.now() + wait;
    answer({ ...this.refusal, n, retry_after: Math.ceil(wait) / 1000 });
  }

  busy = false;

  handleNext() {
    if (this.busy || !this.waiting) return;
    this.busy = true;
    this.timers.setTimeout(() => {
      this.busy = false;
      this.waiting -= 1;
      this.handleNext();
    }, this.limits.handles);
  }
}

/** A line to it that takes its time. @param {Server} server */
function socketTo(server) {
  return class {
    readyState = 0;
    constructor() {
      server.unreadable = 0;
      server.timers.setTimeout(() => ((this.readyState = 1), this.onopen?.({})), 1);
    }
    send(text) {
      const frame = JSON.parse(text);
      server.timers.setTimeout(() => this.take(frame), server.limits.latency);
    }
    take(frame) {
      if (this.readyState !== 1) return;
      const answer = (reply, arrives = () => {}) =>
        server.timers.setTimeout(() => {
          if (this.readyState !== 1) return;
          arrives();
          if (!reply.close) return this.onmessage?.({ data: JSON.stringify(reply) });
          server.closed = reply.close;
          this.readyState = 3;
          this.onclose?.({ code: reply.close });
        }, server.limits.latency);
      const { accepted, limits } = server;
      if (frame.type === "hello") answer({ type: "welcome", session: "s", token: "t", resumed: Boolean(frame.session), reason: null, received: accepted, first: accepted + 1, head: accepted, turn: null, heartbeat: 20, max_frame: 1e6, window: limits.window });
      else server.take(frame, answer);
    }
    close() {
      this.readyState = 3;
    }
  };
}

/** @param {Limits} limits @param {number} count */
function give(limits, count, reads) {
  const timers = new FakeTimers();
  const server = new Server(timers, limits, reads);
  const client = new ChatClient("ws://test/", { WebSocket: socketTo(server), timers, page: null, storage: null, random: () => 0, BroadcastChannel: null, locks: null });
  const refused = [];
  client.addEventListener("notice", ({ detail }) => detail.frame && refused.push(detail));
  client.connect();
  return { timers, server, client, refused };
}

const DEFAULT = { rate: 20, burst: 100, pending: 100, handles: 1, latency: 1, stores: 3 };
const GENEROUS = { ...DEFAULT, rate: 1000, handles: 0.2 };
const MANY = 10_000;

for (const [name, limits, count, seconds] of [
  ["on the default limits", DEFAULT, MANY, 560],
  ["on generous limits", GENEROUS, MANY, 30],
  ["on the default limits and a slow line", { ...DEFAULT, latency: 150, stores: 20 }, 2_000, 130],
  ["on generous limits and a slow line", { ...GENEROUS, latency: 150, stores: 20 }, 2_000, 30],
  ["to a handler that is slower than they come", { ...GENEROUS, handles: 40 }, 2_000, 110],
  ["to a store that is slow", { ...GENEROUS, stores: 700 }, 2_000, 60],
  ["to a server that lets few wait", { ...GENEROUS, pending: 5, window: 5, handles: 10 }, 1_000, 40],
]) {
  test(`${count} events given at once ${name} arrive each once, in order, and few are sent twice`, () => {
    const { timers, server, client } = give(limits, count);
    for (let number = 1; number <= count; number++) client.send("note", { number });
    for (let second = 0; second < seconds && client.pending.length; second++) timers.advance(1000);
    assert.equal(server.closed, null);
    assert.equal(client.pending.length, 0, `${client.pending.length} are left after ${seconds} s`);
    assert.equal(server.log.length, count);
    assert.ok(server.log.every((number, index) => number === index + 1), "out of order");
    assert.ok(server.frames <= 1.5 * count, `${server.frames} frames`);
    assert.ok(server.mostAtOnce <= (limits.window ?? 100), `${server.mostAtOnce} on the wire`);
    client.close();
  });
}

test("a person who writes after a long pause is not held back by what was learned before it", () => {
  const { timers, server, client } = give(DEFAULT);
  for (let number = 1; number <= 300; number++) client.send("note", { number });
  timers.advance(60_000);
  client.send("note", { number: 301 });
  timers.advance(10);
  assert.equal(server.log.length, 301);
  client.close();
});

for (const [bad, count] of [[[1], 1], [[5], 40], [[3, 4, 17], 40], [[40], 40], [Array.from({ length: 25 }, (_, index) => 2 * index + 1), 60]]) {
  test(`events that the server cannot read (${bad}) are given up, told, and block none of the others`, () => {
    const { timers, server, client, refused } = give(GENEROUS, count, ({ data }) => !bad.includes(data.number));
    for (let number = 1; number <= count; number++) client.send("note", { number });
    for (let second = 0; second < 200 && client.pending.length; second++) timers.advance(1000);
    assert.deepEqual(client.pending, []);
    const good = Array.from({ length: count }, (_, index) => index + 1).filter((number) => !bad.includes(number));
    assert.deepEqual(server.log, good);
    assert.deepEqual(refused.map(({ code, frame }) => [code, frame.data.number]), bad.map((number) => ["bad_frame", number]));
    assert.equal(client.state.state, "online");
    client.close();
  });
}

test("unreadable frames that were left in the tab do not block it for good", () => {
  const storage = new FakeStorage();
  const pending = Array.from({ length: 12 }, (_, index) => ({ type: "event", n: index + 1, name: index < 11 ? "bad" : "good", data: { number: index } }));
  storage.setItem("chatsessions:ws://test/", JSON.stringify({ session: null, token: null, next: 13, pending }));
  const timers = new FakeTimers();
  const server = new Server(timers, GENEROUS, ({ name }) => name !== "bad");
  const client = new ChatClient("ws://test/", { WebSocket: socketTo(server), timers, page: null, storage, random: () => 0, BroadcastChannel: null, locks: null });
  client.connect();
  for (let second = 0; second < 60 && client.pending.length; second++) timers.advance(1000);
  assert.deepEqual([client.pending.length, server.log], [0, [11]]);
  client.close();
});
