/**
 * A client against a small model of a server, over lines that break at random, with reloads of the
 * page, restarts of the server and everything the protocol lets a server say in between.
 *
 * Checked: the client's view equals the server's log, entry by entry; everything sent is in the log
 * exactly once and in order. A failure names its seed: `CHAT_SEED=… node … --test` repeats it. `CHAT_RUNS=…` runs more.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ChatClient } from "../../frontend/client/client.ts";
import { FakeStorage, FakeTimers, seeded } from "./fakes.js";

const RUNS = Number(process.env.CHAT_RUNS ?? 150);
const STEPS = 250;

/** The server: one session, written as the protocol's text says it, and nothing of the client's code. */
class ModelServer {
  log = [];
  accepted = 0;
  token = "t0";
  previous = null;
  streams = new Map();
  line = null;
  tokens = 0;

  constructor(random) {
    this.random = random;
  }

  receive(line, frame) {
    if (frame.type === "hello") return this.hello(line, frame);
    if (line !== this.line) return; // taken over
    this.previous = null;
    if (frame.type === "ping") line.toClient({ type: "pong", head: this.log.length });
    if (frame.type === "event") this.event(line, frame);
    if (frame.type === "ack") assert.ok(frame.seq <= this.log.length, "acknowledged the future");
  }

  hello(line, { session, token, received }) {
    const known = session === "s" && (token === this.token || token === this.previous);
    assert.ok(known || (!session && !this.accepted), "the client lost its way back");
    if (!known) this.begin(); // the welcome to the session before this one never arrived
    this.line?.toClient({ close: 4509 });
    this.line = line;
    this.previous = known ? token : null;
    this.token = `t${++this.tokens}`;
    const position = { received: this.accepted, first: 1, head: this.log.length, turn: null };
    line.toClient({ type: "welcome", session: "s", token: this.token, resumed: known, reason: known ? null : "new", ...position, heartbeat: 20, max_frame: 10_000 });
    for (const entry of this.log.slice(received)) line.toClient(entry);
    for (const [message, { content, index }] of this.streams) line.toClient({ type: "stream", message, index, content });
  }

  begin() {
    this.log = [];
    this.streams.clear();
  }

  event(line, { n, name, data }) {
    const stored = this.log.find((entry) => entry.n === n);
    if (stored) return line.toClient({ type: "accepted", n, seq: stored.seq });
    if (n !== this.accepted + 1) return line.toClient({ type: "error", code: "n_gap", n: this.accepted + 1, detail: "" });
    const mood = this.random();
    if (mood < 0.05) return line.toClient({ type: "error", code: "rate_limited", n, detail: "", retry_after: 2 });
    if (mood < 0.08) return line.toClient({ type: "error", code: "storage_unavailable", n, detail: "", retry_after: 1 });
    if (mood < 0.11) return undefined; // lost inside the server
    this.accepted = n;
    const seq = this.append({ name, data, n }, { silent: true }).seq;
    const accepted = { type: "accepted", n, seq };
    if (mood < 0.14) return undefined; // stored, and the answer is lost
    if (mood < 0.22) this.append({ name: "message", data: { id: `e${seq}`, content: "quick", streaming: false } }, { after: accepted });
    else line.toClient(accepted);
    return undefined;
  }

  append(rest, { silent = false, after = null } = {}) {
    const entry = { type: "event", seq: this.log.length + 1, ...rest };
    this.log.push(entry);
    if (after) this.line?.toClient(after);
    if (!silent) this.line?.toClient(entry);
    return entry;
  }

  speak() {
    const id = `m${this.log.length + 1}`;
    this.append({ name: "message", data: { id, content: "hi", streaming: false } });
  }

  stream() {
    const open = [...this.streams.keys()];
    if (!open.length || this.random() < 0.2) {
      const id = `m${this.log.length + 1}`;
      this.streams.set(id, { content: "", index: 0 });
      this.append({ name: "message", data: { id, content: "", streaming: true } });
      return;
    }
    const id = open[Math.floor(this.random() * open.length)];
    const state = this.streams.get(id);
    if (this.random() < 0.15) return this.close(id);
    const text = String.fromCharCode(97 + (state.index % 26));
    // A piece may get lost: the next `stream` or the final update makes up for it.
    if (this.random() < 0.9) this.line?.toClient({ type: "token", message: id, index: state.index, text });
    state.content += text;
    state.index += 1;
    if (this.random() < 0.1) this.line?.toClient({ type: "stream", message: id, ...state });
    return undefined;
  }

  close(id) {
    const { content } = this.streams.get(id);
    this.streams.delete(id);
    this.append({ name: "message_update", data: { id, content, streaming: false } });
  }

  /** A restart: what is stored stays, streams are cut short. */
  restart() {
    this.line = null;
    for (const id of [...this.streams.keys()]) this.close(id);
  }
}

/** Lines between sockets and the server: frames keep their order, arrive late, and die with the line. */
function network(server, random) {
  const lines = [];
  class Line {
    readyState = 0;
    toServerQueue = [];
    toClientQueue = [];

    constructor() {
      lines.push(this);
    }
    send(text) {
      this.toServerQueue.push(JSON.parse(text));
    }
    close() {
      this.readyState = 3;
    }
    toClient(frame) {
      if (this.readyState === 1) this.toClientQueue.push(frame);
    }
    break(code = 1006) {
      if (this.readyState === 3) return;
      this.readyState = 3;
      // What has reached the server's side is handled even though nobody hears the answer.
      for (const frame of this.toServerQueue.splice(0, Math.floor(random() * 4))) server.receive(this, frame);
      if (server.line === this) server.line = null;
      this.onclose?.({ code });
    }
    move() {
      if (this.readyState === 0) {
        if (random() < 0.15) return this.break(1006);
        this.readyState = 1;
        return this.onopen?.();
      }
      for (let count = Math.floor(random() * 6); count > 0; count--) {
        if (this.toServerQueue.length) server.receive(this, this.toServerQueue.shift());
        const frame = this.toClientQueue.shift();
        if (frame?.close) return this.break(frame.close);
        // Some server forgets an entry, or sends it twice.
        const copies = frame?.type !== "event" ? 1 : random() < 0.02 ? 0 : random() < 0.03 ? 2 : 1;
        for (let copy = 0; frame && copy < copies; copy++) this.onmessage?.({ data: JSON.stringify(frame) });
        if (this.readyState !== 1) return undefined;
      }
      return undefined;
    }
  }
  return { Line, lines, live: () => lines.filter((line) => line.readyState < 2) };
}

/** What a person would see. */
class View {
  entries = [];
  contents = new Map();
  fault = null;

  constructor(client) {
    client.addEventListener("reset", () => this.clear());
    client.addEventListener("event", ({ detail }) => this.add(detail));
    client.addEventListener("token", ({ detail }) => this.contents.set(detail.message, this.contents.get(detail.message) + detail.text));
    client.addEventListener("stream", ({ detail }) => this.contents.set(detail.message, detail.content));
  }

  clear() {
    this.entries = [];
    this.contents.clear();
  }

  add({ seq, name, data, n }) {
    if (seq !== this.entries.length + 1) this.fault = `entry ${seq} after ${this.entries.length}`;
    this.entries.push({ seq, name, data, n });
    if (data.streaming !== undefined) this.contents.set(data.id, data.content);
  }
}

function run(seed) {
  const random = seeded(seed);
  const timers = new FakeTimers();
  const storage = new FakeStorage();
  const server = new ModelServer(random);
  const { Line, live } = network(server, random);
  const sent = [];
  let client;
  let view;

  const load = () => {
    client?.close();
    client = new ChatClient("ws://test/", { WebSocket: Line, timers, storage, random, page: null, BroadcastChannel: null });
    view = new View(client);
    client.connect();
  };
  const chances = [
    [0.3, () => client.send("note", { number: sent.push(sent.length + 1) })],
    [0.15, () => server.speak()],
    [0.3, () => server.stream()],
    [0.08, () => live().at(-1)?.break([1006, 1012, 4000, 4008][Math.floor(random() * 4)])],
    [0.03, () => load()],
    [0.02, () => { server.restart(); live().forEach((line) => line.break(1012)); }],
    [0.12, () => timers.advance(random() * 20_000)],
  ];
  const settle = () => {
    for (let round = 0; round < 60; round++) {
      for (const line of live()) line.move();
      timers.advance(1_500);
    }
  };

  load();
  for (let step = 0; step < STEPS; step++) {
    let roll = random();
    const chance = chances.find(([weight]) => (roll -= weight) < 0);
    chance?.[1]();
    for (const line of live()) line.move();
    timers.advance(random() * 300);
    assert.equal(view.fault, null);
    for (const [id, { content }] of server.streams) assert.ok(content.startsWith(view.contents.get(id) ?? ""), "a piece is missing or repeated");
  }
  for (const id of [...server.streams.keys()]) server.close(id);
  for (let attempt = 0; attempt < 20 && (client.pending.length || client.received < server.log.length); attempt++) settle();

  const own = server.log.filter(({ n }) => n !== undefined);
  assert.deepEqual(own.map(({ data }) => data.number), sent, "sent and not stored exactly once, in order");
  assert.deepEqual(own.map(({ n }) => n), sent, "numbers with holes");
  assert.deepEqual(view.entries, server.log.map(({ seq, name, data, n }) => ({ seq, name, data, n })), "the view is not the log");
  for (const { name, data } of server.log) if (name === "message_update") assert.equal(view.contents.get(data.id), data.content);
  assert.deepEqual(client.pending, []);
  client.close();
  assert.equal(timers.size, 0);
  return server.log.length;
}

const start = process.env.CHAT_SEED ? Number(process.env.CHAT_SEED) : Math.floor(Math.random() * 2 ** 31);

test(`lossy lines from seed ${start}`, (context) => {
  const seeds = process.env.CHAT_SEED ? [start] : Array.from({ length: RUNS }, (_, index) => start + index);
  let entries = 0;
  for (const seed of seeds) {
    try {
      entries += run(seed);
    } catch (error) {
      error.message = `CHAT_SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
  context.diagnostic(`${seeds.length} runs from seed ${start}: ${entries} entries, no hole, no repeat`);
});
