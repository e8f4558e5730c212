/** Time, randomness, storage, sockets and requests that a test holds in its hand. */

import { webcrypto } from "node:crypto";

import { tabStorage } from "../../frontend/client/tab-storage.ts";

globalThis.crypto ??= webcrypto; // every browser has it; Node 18 does not

/** A clock that moves when told to. */
export class FakeTimers {
  #now = 0;
  #next = 1;
  #timers = new Map();

  now = () => this.#now;

  setTimeout = (callback, delay) => {
    this.#timers.set(this.#next, { at: this.#now + Math.max(0, delay), callback });
    return this.#next++;
  };

  clearTimeout = (timer) => this.#timers.delete(timer);

  /** How many timers run. */
  get size() {
    return this.#timers.size;
  }

  advance(milliseconds) {
    const until = this.#now + milliseconds;
    for (let due = this.#due(until); due; due = this.#due(until)) {
      const [id, { at, callback }] = due;
      this.#timers.delete(id);
      this.#now = at;
      callback();
    }
    this.#now = until;
  }

  #due(until) {
    return [...this.#timers].filter(([, { at }]) => at <= until).sort(([a, x], [b, y]) => x.at - y.at || a - b)[0];
  }
}

/** A repeatable random number generator (mulberry32). */
export function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export class FakeStorage {
  items = new Map();
  getItem = (key) => this.items.get(key) ?? null;
  setItem = (key, value) => void this.items.set(key, String(value));
  removeItem = (key) => void this.items.delete(key);
}

/** The sockets that one client opens, in order. */
export function socketClass() {
  return class FakeSocket {
    static all = [];
    static get last() {
      return this.all.at(-1);
    }

    readyState = 0;
    sent = [];
    closedWith = null;

    constructor(url, protocols) {
      this.url = url;
      this.protocols = protocols;
      this.constructor.all.push(this);
    }

    send(text) {
      this.sent.push(JSON.parse(text));
    }

    close(code) {
      this.closedWith = code;
      this.readyState = 3;
    }

    // the server's side
    open() {
      this.readyState = 1;
      this.onopen?.({});
    }

    push(...frames) {
      for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
    }

    bundle(...frames) {
      this.onmessage?.({ data: JSON.stringify(frames) });
    }

    drop(code = 1006) {
      this.readyState = 3;
      this.onclose?.({ code });
    }

    of(type) {
      return this.sent.filter((frame) => frame.type === type);
    }
  };
}

/** An `XMLHttpRequest` whose server a test is. */
export function requestClass() {
  return class FakeRequest {
    static all = [];
    upload = {};
    headers = {};
    aborted = false;
    constructor() {
      this.constructor.all.push(this);
    }
    open(method, url) {
      Object.assign(this, { method, url });
    }
    setRequestHeader(name, value) {
      this.headers[name] = value;
    }
    send(body) {
      this.body = body;
    }
    abort() {
      this.aborted = true;
      this.onabort();
    }
    answer(status, body) {
      Object.assign(this, { status, responseText: typeof body === "string" ? body : JSON.stringify(body) });
      this.onload();
    }
    fail() {
      this.onerror();
    }
  };
}

/** Whose files they are: a client that is online. */
export function owner(changes = {}) {
  const target = new EventTarget();
  const storage = tabStorage("ws://test/", new FakeStorage());
  return Object.assign(target, { session: "s1", token: "t1", state: { state: "online" }, storage }, changes);
}

/** Let promises come to their end. */
export const settle = () => new Promise((resolve) => setTimeout(resolve));
