// Built from frontend/src by `make page`. Edit that, not this.

// src/backoff.js
var Backoff = class {
  #attempt = 0;
  #base;
  #cap;
  #random;
  /** @param {{base?: number, cap?: number, random?: () => number}} [options] times in milliseconds */
  constructor({ base = 500, cap = 3e4, random = Math.random } = {}) {
    this.#base = base;
    this.#cap = cap;
    this.#random = random;
  }
  /** How many attempts have been made since the last success. */
  get attempt() {
    return this.#attempt;
  }
  /** The wait before the next attempt, in milliseconds. */
  next() {
    const ceiling = Math.min(this.#cap, this.#base * 2 ** this.#attempt);
    this.#attempt += 1;
    return this.#random() * ceiling;
  }
  reset() {
    this.#attempt = 0;
  }
};

// src/connection.js
var SUBPROTOCOL = "chatsessions.v1";
var OPEN = 1;
var Connection = class {
  #socket;
  /**
   * @param {string} url
   * @param {typeof WebSocket} Socket
   * @param {{opened: () => void, received: (frame: Frame) => void, closed: (code: number) => void}} handlers
   */
  constructor(url, Socket, { opened, received, closed }) {
    this.#socket = new Socket(url, [SUBPROTOCOL]);
    this.#socket.onopen = () => opened();
    this.#socket.onmessage = ({ data }) => {
      for (const frame of decode(data)) {
        if (this.#socket.onmessage) received(frame);
      }
    };
    this.#socket.onclose = ({ code }) => {
      this.#detach();
      closed(code);
    };
  }
  /** @param {Frame} frame @returns {boolean} whether the socket took it */
  send(frame) {
    if (this.#socket.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }
  /** Hang up without waiting for the other side: a dead line would keep us for minutes. */
  close() {
    this.#detach();
    this.#socket.close(1e3);
  }
  #detach() {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
  }
};
function decode(text) {
  try {
    return [JSON.parse(String(text))].flat().filter((frame) => typeof frame?.type === "string");
  } catch {
    return [];
  }
}
var MAX_PONG_WAIT = 1e4;
var Monitor = class {
  #timers;
  #heartbeat;
  #ping;
  #dead;
  #heardAt;
  #sentAt;
  /** @type {number | null} when the unanswered ping was sent */
  #pingedAt = null;
  /** @type {any} */
  #timer = null;
  /**
   * @param {Timers} timers
   * @param {number} heartbeat milliseconds of silence before a ping
   * @param {{ping: () => void, dead: () => void}} handlers
   */
  constructor(timers, heartbeat, { ping, dead }) {
    this.#timers = timers;
    this.#heartbeat = heartbeat;
    this.#ping = ping;
    this.#dead = dead;
    this.#heardAt = this.#sentAt = timers.now();
    this.#check();
  }
  heard() {
    this.#heardAt = this.#timers.now();
    this.#pingedAt = null;
  }
  sent() {
    this.#sentAt = this.#timers.now();
  }
  /** Ask at once whether the line lives, as after a sleep. */
  probe() {
    if (this.#pingedAt === null) this.#askNow();
    this.#check();
  }
  stop() {
    this.#timers.clearTimeout(this.#timer);
  }
  #askNow() {
    this.#pingedAt = this.#timers.now();
    this.#ping();
  }
  #check() {
    this.stop();
    const now = this.#timers.now();
    if (this.#pingedAt !== null && now >= this.#deadline()) {
      this.#dead();
      return;
    }
    if (this.#pingedAt === null && now >= this.#deadline()) this.#askNow();
    this.#timer = this.#timers.setTimeout(() => this.#check(), this.#deadline() - now);
  }
  /** When to look again: at the end of the silence, or of the wait for an answer. */
  #deadline() {
    if (this.#pingedAt !== null) return this.#pingedAt + Math.min(this.#heartbeat, MAX_PONG_WAIT);
    return Math.min(this.#heardAt, this.#sentAt) + this.#heartbeat;
  }
};

// src/delivery.js
var Outbox = class {
  /** @type {Outgoing[]} in the order of `n`; without holes beyond `#accepted` */
  #items;
  /** The highest `n` that the server is known to have stored. */
  #accepted;
  /** The highest `n` written to the current line. */
  #cursor;
  /** @param {Outgoing[]} [items] @param {number} [next] the number of the next frame */
  constructor(items = [], next = 1) {
    this.#items = [...items];
    const last = items.at(-1)?.n ?? 0;
    this.#accepted = last < next - 1 ? next - 1 : (items[0]?.n ?? next) - 1;
    this.#cursor = this.#accepted;
    const ascending = items.every(({ n }, index) => index === 0 || n > items[index - 1].n);
    if (!ascending) this.#renumber(items, this.#accepted + 1);
  }
  /** Everything that is not confirmed yet, oldest first. @returns {readonly Outgoing[]} */
  get items() {
    return this.#items;
  }
  /** The number that the next frame will get. */
  get next() {
    return Math.max(this.#accepted, this.#items.at(-1)?.n ?? 0) + 1;
  }
  /** Whether something was written to the line and is not accepted. */
  get waiting() {
    const first = this.#items.find((item) => item.n > this.#accepted);
    return first !== void 0 && first.n <= this.#cursor;
  }
  /** The number of the first frame that is not accepted. */
  get first() {
    return this.#accepted + 1;
  }
  /** How many frames were written to the line and are not accepted. */
  get onTheWire() {
    return this.#cursor - this.#accepted;
  }
  /** Whether a frame is still to be written. */
  get more() {
    return (this.#items.at(-1)?.n ?? 0) > this.#cursor;
  }
  /** @param {Omit<Outgoing, "n">} frame @returns {Outgoing} */
  push(frame) {
    const item = { ...frame, n: this.next };
    this.#items.push(item);
    return item;
  }
  /** The frames to write now; they count as written. @param {number} window @param {number} [last] the highest number that may go */
  take(window, last = Infinity) {
    const limit = Math.min(this.#accepted + window, last);
    if (limit <= this.#cursor) return [];
    const from = this.#items.findIndex((item) => item.n > this.#cursor);
    const frames = [];
    for (let index = from; index >= 0 && index < this.#items.length && this.#items[index].n <= limit; index++) frames.push(this.#items[index]);
    this.#cursor = frames.at(-1)?.n ?? this.#cursor;
    return frames;
  }
  /** Write again from `n`, or from the first that is not accepted. @param {number} [n] */
  rewind(n = 0) {
    this.#cursor = Math.max(this.#accepted, n - 1);
  }
  /** `n` is stored. @param {number} n @returns {Outgoing | undefined} the frame, if it was waiting */
  accept(n) {
    const item = this.#remove(n);
    this.#accepted = Math.max(this.#accepted, n);
    this.#cursor = Math.max(this.#cursor, this.#accepted);
    return item;
  }
  /**
   * The log holds `entry` as our frame `n`.
   *
   * It may be somebody else's: a duplicated tab, or another device, goes on counting from the same
   * number. What is still ours to send is then numbered anew.
   * @param {number} n @param {{name: string, data: any}} entry
   */
  confirm(n, entry) {
    const item = this.accept(n);
    if (item && !isOurs(item, entry)) this.push(item);
  }
  /**
   * The server has stored everything up to `received`. What lies beyond is numbered on from there;
   * what does not is kept until the replay has shown it.
   * @param {number} received
   */
  resume(received) {
    this.#accepted = received;
    this.#cursor = received;
    this.#renumber(this.#items.filter((item) => item.n > received), received + 1);
  }
  /** A new session: what is left is numbered from 1. */
  restart() {
    this.settle();
    this.#accepted = 0;
    this.#cursor = 0;
    this.#renumber(this.#items, 1);
  }
  /**
   * What was left from before this page is ours after all, and goes before what was sent since.
   * @param {readonly Outgoing[]} items @param {number} next the number of the next frame, when it was left
   */
  adopt(items, next) {
    const last = items.at(-1)?.n ?? 0;
    this.#renumber(this.#items, Math.max(next, last + 1));
    this.#items = [...items, ...this.#items];
  }
  /** Somebody else wrote these. @param {readonly Outgoing[]} [items] all, if left out */
  forget(items = this.#items) {
    const foreign = new Set(items);
    this.#items = this.#items.filter((item) => !foreign.has(item));
    this.#renumber(this.#items, this.#accepted + 1);
    this.#cursor = this.#accepted;
  }
  /** The replay is complete: what the server said it had stored need not be kept. */
  settle() {
    this.#items = this.#items.filter((item) => item.n > this.#accepted);
  }
  /** `n` will never be accepted; those behind it move up. @param {number} n */
  refuse(n) {
    if (n <= this.#accepted) return void 0;
    const item = this.#remove(n);
    if (!item) return void 0;
    this.#renumber(this.#items.filter((other) => other.n > n), n);
    this.#cursor = Math.min(this.#cursor, n - 1);
    return item;
  }
  /** Among the frames on the line, the largest: the one to blame for "too large". */
  largestWritten() {
    return this.#items.filter((item) => item.n > this.#accepted && item.n <= this.#cursor).reduce((largest, item) => largest && byteLength(largest) >= byteLength(item) ? largest : item, void 0);
  }
  /** The frames that no line of `limit` bytes a frame can carry. @param {number} limit */
  oversized(limit) {
    return this.#items.filter((item) => item.n > this.#accepted && byteLength(item) > limit);
  }
  /** @param {number} n */
  #remove(n) {
    const index = this.#items.findIndex((item) => item.n === n);
    return index < 0 ? void 0 : this.#items.splice(index, 1)[0];
  }
  /** @param {Outgoing[]} items @param {number} from */
  #renumber(items, from) {
    items.forEach((item, offset) => item.n = from + offset);
  }
};
function isOurs(item, { name, data }) {
  if (item.type === "answer") return name === "answer" && isSame(item, { call: data?.call, data: data?.data });
  return name === item.name && (name === "action" ? item.data?.id === data?.id : isSame(item, { data }));
}
function isSame({ call, data }, entry) {
  return call === entry.call && JSON.stringify(data ?? null) === JSON.stringify(entry.data ?? null);
}
var encoder = new TextEncoder();
function byteLength(frame) {
  return encoder.encode(JSON.stringify(frame)).length;
}
var Inbox = class {
  /** The highest `seq` up to which everything is here. */
  received = 0;
  /** @type {Map<number, Entry>} own entries whose `accepted` came before their predecessors */
  #parked = /* @__PURE__ */ new Map();
  /** Where an entry belongs: to be applied now, known already, or behind a hole. @param {number} seq */
  place(seq) {
    if (seq <= this.received) return "old";
    return seq === this.received + 1 ? "next" : "hole";
  }
  /** @param {number} seq */
  has(seq) {
    return seq <= this.received || this.#parked.has(seq);
  }
  /** Keep an entry until those before it are here. @param {Entry} entry */
  park(entry) {
    this.#parked.set(entry.seq, entry);
  }
  /** The parked entry whose turn has come. */
  unpark() {
    const entry = this.#parked.get(this.received + 1);
    this.#parked.delete(this.received + 1);
    return entry;
  }
  /** A new line: what was parked comes again in the replay. */
  resume() {
    this.#parked.clear();
  }
  /** Start again behind `seq`. @param {number} seq */
  restart(seq) {
    this.received = seq;
    this.#parked.clear();
  }
};
var Streams = class {
  /** @type {Map<string, number>} */
  #expected = /* @__PURE__ */ new Map();
  /** Follow what an entry says about a stream. @param {Entry} entry */
  follow({ name, data }) {
    if (data?.n != null) return;
    if (name === "message_remove" || name === "step_remove") this.#expected.delete(data?.id);
    const isStep = name === "step" || name === "step_update";
    if (name !== "message" && name !== "message_update" && !isStep) return;
    if (!data?.streaming) this.#expected.delete(data?.id);
    else if (isStep || !this.#expected.has(data.id)) this.#expected.set(data.id, 0);
  }
  /** Whether a piece is the next one. Others are old, or wait for a `stream`. @param {string} id @param {number} index */
  take(id, index) {
    if (this.#expected.get(id) !== index) return false;
    this.#expected.set(id, index + 1);
    return true;
  }
  /** @param {string} id @param {number} index of the next piece */
  resync(id, index) {
    this.#expected.set(id, index);
  }
  clear() {
    this.#expected.clear();
  }
};

// src/frames.js
var RETRY_CODES = /* @__PURE__ */ new Set(["rate_limited", "busy", "storage_unavailable"]);
var FINAL_CODES = /* @__PURE__ */ new Set(["bad_frame", "too_large", "unauthorized", "forbidden", "call_closed"]);
var NAME = /^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,100}$/u;
var MAX_DEPTH = 64;
function readable(text, longest) {
  if (typeof text !== "string") return void 0;
  const clean = wellFormed(text);
  return clean === text && [...text].length <= longest && !CONTROLS.test(text) ? text : void 0;
}
function wellFormed(text) {
  return decoder.decode(encoder2.encode(text));
}
function isTooDeep(value, left = MAX_DEPTH) {
  if (typeof value !== "object" || value === null) return false;
  return left === 0 || Object.values(value).some((inner) => isTooDeep(inner, left - 1));
}
var CONTROLS = /[\x00-\x1f\x7f-\x9f]/;
function asTurn(turn) {
  if (turn === null || turn === void 0) return null;
  return typeof turn === "object" ? { type: "turn", status: "running", ...turn } : { type: "turn", turn, name: "", status: "running" };
}
function asEntry(item, seq) {
  if (item.type === "answer") return { seq, n: item.n, name: "answer", data: { call: item.call, data: item.data } };
  return { seq, n: item.n, name: item.name ?? "", data: item.data };
}
function copied(frame) {
  return JSON.parse(JSON.stringify(frame), repaired);
}
function repaired(_key, value) {
  if (typeof value === "string") return wellFormed(value);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const keys = Object.keys(value);
  return keys.every((key) => wellFormed(key) === key) ? value : Object.fromEntries(keys.map((key) => [wellFormed(key), value[key]]));
}
var encoder2 = new TextEncoder();
var decoder = new TextDecoder("utf-8", { ignoreBOM: true });
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = bytes[6] & 15 | 64;
  bytes[8] = bytes[8] & 63 | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// src/errors.js
var ChatClientError = class extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "ChatClientError";
    this.code = code;
  }
};

// src/hold.js
function holdBy(locks, siblings, timers) {
  return locks ? new Lock(locks, timers) : new Question(siblings, timers);
}
var Lock = class {
  #locks;
  #timers;
  /** What is held, or asked for. @type {string | null} */
  #session = null;
  #held = false;
  /** @type {(ours: boolean) => void} */
  #told = () => {
  };
  /** Gives it up, or stops asking. */
  #leave = () => {
  };
  /** @param {Locks} locks @param {import("./timers.js").Timers} timers */
  constructor(locks, timers) {
    this.#locks = locks;
    this.#timers = timers;
  }
  /** @param {string} session @param {number} patience @param {(ours: boolean) => void} told */
  take(session, patience, told) {
    if (this.#held && this.#session === session) return told(true);
    this.#told = told;
    if (this.#session === session) return void 0;
    this.release();
    this.#told = told;
    this.#session = session;
    this.#ask(session, patience);
    return void 0;
  }
  /** @param {string} session */
  keep(session) {
    this.take(session, KEEPING, () => {
    });
  }
  release() {
    this.#leave();
    this.#leave = () => {
    };
    this.#told = () => {
    };
    this.#session = null;
    this.#held = false;
  }
  heard() {
  }
  /** @param {string} session @param {number} patience */
  #ask(session, patience) {
    const stop = new AbortController();
    const timer = this.#timers.setTimeout(() => stop.abort(), patience);
    this.#leave = () => {
      this.#timers.clearTimeout(timer);
      stop.abort();
    };
    const current = () => this.#session === session && this.#leave === leave;
    const leave = this.#leave;
    const granted = () => new Promise((resolve) => {
      this.#timers.clearTimeout(timer);
      if (!current()) return resolve();
      this.#held = true;
      this.#leave = resolve;
      const told = this.#told;
      queueMicrotask(() => told(true));
    });
    this.#locks.request(`chatsessions:${session}`, { signal: stop.signal }, granted).catch((error) => {
      if (!current()) return;
      this.#timers.clearTimeout(timer);
      const told = this.#told;
      this.release();
      told(error.name !== "AbortError");
    });
  }
};
var KEEPING = 5e3;
var ANSWER_WITHIN = 150;
var Question = class {
  #siblings;
  #timers;
  #id = uuid();
  /** What is held, or asked for. @type {string | null} */
  #session = null;
  /** While the question is open: who waits for its answer. @type {((ours: boolean) => void) | null} */
  #told = null;
  /** @type {any} */
  #timer = null;
  /** @param {import("./siblings.js").Siblings} siblings @param {import("./timers.js").Timers} timers */
  constructor(siblings, timers) {
    this.#siblings = siblings;
    this.#timers = timers;
  }
  /** @param {string} session @param {number} _patience a page that has left does not answer @param {(ours: boolean) => void} told */
  take(session, _patience, told) {
    if (this.#session === session) {
      if (!this.#told) return told(true);
      this.#told = told;
      return void 0;
    }
    this.keep(session);
    if (!this.#siblings.say({ asks: session, by: this.#id })) return told(true);
    this.#told = told;
    this.#timer = this.#timers.setTimeout(() => this.#answered(true), ANSWER_WITHIN);
    return void 0;
  }
  /** @param {string} session */
  keep(session) {
    this.release();
    this.#session = session;
  }
  release() {
    this.#timers.clearTimeout(this.#timer);
    this.#told = null;
    this.#session = null;
  }
  /** @param {any} message */
  heard({ asks, has, by, to }) {
    if (this.#session === null) return;
    if (has === this.#session && to === this.#id && this.#told) this.#answered(false);
    else if (asks === this.#session && typeof by === "string") this.#asked(by);
  }
  /** @param {string} by who asks for what we hold, or ask for too */
  #asked(by) {
    if (this.#told && by < this.#id) this.#answered(false);
    else this.#siblings.say({ has: this.#session, to: by });
  }
  /** @param {boolean} ours */
  #answered(ours) {
    const told = this.#told;
    this.#timers.clearTimeout(this.#timer);
    this.#told = null;
    if (!ours) this.#session = null;
    told?.(ours);
  }
};

// src/identity.js
var Identity = class {
  /** @type {string | null} */
  session = null;
  /** @type {string | null} */
  token = null;
  /** @type {string | undefined} */
  profile;
  /** @type {string | undefined} */
  thread;
  /** @type {Record<string, string>} */
  env;
  /** Who is here, as far as is known. @type {string | undefined} */
  owner;
  /** What the page asks for. */
  #given;
  #memory;
  /** What was left by somebody who was not logged in; who is here may have it if the session is theirs now. @type {Remembered | null} */
  #held;
  /** Whether it is not known who wrote what was left. */
  #unsigned;
  #met = false;
  /** Whether a conversation of somebody who was logged in is left here, which is not asked for. */
  #lost;
  /** @param {Memory} memory @param {Wishes} wishes of the page */
  constructor(memory, { profile, thread, env = {}, owner }) {
    this.#memory = memory;
    env = checkedEnv(env);
    this.#given = { profile, thread, env };
    this.owner = owner ?? memory.owner;
    this.env = checkedEnv({ ...env, ...memory.env });
    this.#unsigned = memory.owner === void 0 && !memory.empty;
    this.#lost = memory.access === "nothing";
    const remembered = memory.load();
    const same = agrees(profile, remembered.profile) && agrees(thread, remembered.thread);
    if (same) [this.session, this.token] = [remembered.session, remembered.token];
    const ours = memory.access === "all";
    this.#held = same && !ours ? remembered : null;
    this.profile = profile ?? (ours ? remembered.profile : void 0);
    this.thread = thread ?? (ours ? remembered.thread : void 0);
    this.left = { pending: ours ? remembered.pending : [], next: ours && same ? remembered.next : 1 };
  }
  /** The first frame of a connection. @param {number} received @param {string | undefined} language @returns {Frame} */
  hello(received, language) {
    const credentials = this.session ? { session: this.session, token: this.token } : {};
    const env = Object.keys(this.env).length ? this.env : void 0;
    const wishes = { language: readable(language, 35), profile: readable(this.profile, 200), thread: readable(this.thread, 100) };
    return { type: "hello", ...credentials, received, client_type: "webapp", ...wishes, env, owner: this.owner, bundles: true };
  }
  /** Why it is another log. @param {string} reason as the server says it */
  reasonOf(reason) {
    const lost = this.#lost;
    this.#lost = false;
    return lost && reason === "new" ? "unknown" : reason;
  }
  /** @param {Frame} welcome @returns {Meeting} */
  welcomed({ session, token, resumed, reason, owner }) {
    const meeting = resumed ? this.#rejoin(owner) : this.#meet(owner);
    this.#held = null;
    this.#unsigned = false;
    this.#met = true;
    this.session = session;
    this.token = token;
    if (!resumed && reason === "unknown") this.thread = void 0;
    return meeting;
  }
  /** Somebody else is here, and was not let in. @param {string} owner @returns {Meeting} */
  refused(owner) {
    const meeting = this.#meet(owner);
    this.#held = null;
    this.session = this.token = null;
    return meeting;
  }
  /** The session is theirs, and so is all that was written in it. @param {string | undefined} owner @returns {Meeting} */
  #rejoin(owner) {
    const adopt = this.#held;
    const changed = owner !== void 0 && this.owner !== void 0 && owner !== this.owner;
    if (owner !== void 0) this.#memory.belongsTo(owner, true);
    this.owner = owner ?? this.owner;
    this.profile ??= adopt?.profile;
    this.thread ??= adopt?.thread;
    this.env = adopt ? checkedEnv({ ...this.#given.env, ...this.#memory.env }) : this.env;
    return { forget: "", adopt, again: (changed || Boolean(adopt)) && Object.keys(this.env).length > 0 };
  }
  /** They have a session of their own now, or none. @param {string | undefined} owner of a server that tells @returns {Meeting} */
  #meet(owner) {
    const before = this.owner;
    if (owner === void 0) return { forget: "", adopt: null, again: false };
    this.owner = owner;
    const theirs = before === void 0 ? !this.#unsigned : before === owner;
    this.#memory.belongsTo(owner, before === void 0 && theirs);
    if (theirs) return { forget: "", adopt: null, again: false };
    const { profile, thread, env } = this.#met ? { profile: void 0, thread: void 0, env: {} } : this.#given;
    this.#given = { profile, thread, env };
    [this.profile, this.thread, this.env] = [profile, thread, { ...env }];
    const wishes = profile !== void 0 || thread !== void 0 || Object.keys(env).length > 0;
    return before === void 0 ? { forget: "left", adopt: null, again: false } : { forget: "all", adopt: null, again: wishes };
  }
  /** Be nobody's, until the next `welcome`. @param {string | undefined} thread @param {string | undefined} profile */
  restart(thread, profile) {
    this.session = this.token = null;
    this.#held = null;
    this.thread = thread;
    this.profile = profile;
  }
  /** It is another tab's conversation: this one begins its own. */
  separate() {
    this.restart(this.#given.thread, this.profile);
  }
  /** @param {Record<string, string>} values that a person gave */
  setEnv(values) {
    values = checkedEnv(values);
    this.env = { ...this.#given.env, ...values };
    this.#memory.env = values;
  }
  /** @param {number} next the number of the next frame @param {readonly Outgoing[]} pending */
  save(next, pending) {
    const { session, token, profile, thread } = this;
    this.#memory.save({ session, token, next, pending: [...pending], profile, thread });
  }
};
function agrees(asked, remembered) {
  return asked === void 0 || asked === remembered;
}
function checkedEnv(values) {
  const texts = Object.entries(values).map(([name, text]) => {
    if (typeof text !== "string") throw new ChatClientError("bad_env", `The value of ${wellFormed(name)} is no text.`);
    return [wellFormed(name), wellFormed(text)];
  });
  return Object.fromEntries(texts);
}

// src/page.js
var WAKING = ["online", "pageshow", "visibilitychange"];
var Page = class {
  #target;
  #handlers;
  /** @param {EventTarget | null} target @param {{woke: () => void, left: () => void}} handlers */
  constructor(target, handlers) {
    this.#target = target;
    this.#handlers = handlers;
  }
  listen() {
    for (const type of WAKING) this.#target?.addEventListener(type, this.#wake);
    this.#target?.addEventListener("pagehide", this.#leave);
  }
  unlisten() {
    for (const type of WAKING) this.#target?.removeEventListener(type, this.#wake);
    this.#target?.removeEventListener("pagehide", this.#leave);
  }
  #leave = () => this.#handlers.left();
  #wake = () => {
    if (globalThis.document?.visibilityState !== "hidden") this.#handlers.woke();
  };
};

// src/pace.js
var MARGIN = 1.03;
var QUICKER = { rate_limited: 0.995, busy: 0.98 };
var SAVED = 32;
var Pace = class {
  /** Milliseconds for each event; 0 while it is not known. */
  #interval = 0;
  #quicker = 1;
  /** The last event that was refused, and when it can be taken. @type {{n: number, at: number} | null} */
  #refused = null;
  /** When the next may go. */
  #next = 0;
  /** How many events may go now. @param {number} now */
  room(now) {
    if (!this.#interval) return Infinity;
    return Math.max(0, Math.floor((now - this.#next) / this.#interval) + 1);
  }
  /** How long the next has to wait, in milliseconds. @param {number} now */
  wait(now) {
    return this.#interval ? Math.max(0, this.#next - now) : 0;
  }
  /** So many were sent. @param {number} count @param {number} now */
  sent(count, now) {
    this.#next = Math.max(this.#next, now - SAVED * this.#interval) + count * this.#interval;
  }
  accepted() {
    this.#interval *= this.#quicker;
  }
  /**
   * Event `n` was refused, and can be taken at `at`.
   * @param {string} code @param {number} n @param {number} at in milliseconds
   */
  refused(code, n, at) {
    if (!(code in QUICKER)) return;
    this.#quicker = QUICKER[code];
    const before = this.#refused;
    if (before && n > before.n) this.#interval = MARGIN * Math.max(0, at - before.at) / (n - before.n);
    this.#refused = { n, at };
    this.#next = at;
  }
  /** The numbers are others from now on. */
  renumbered() {
    this.#refused = null;
  }
};

// src/timers.js
var systemTimers = {
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (timer) => clearTimeout(timer),
  now: () => Date.now()
};
var Timeouts = class {
  #timers;
  /** @type {Map<string, any>} */
  #running = /* @__PURE__ */ new Map();
  /** @param {Timers} timers */
  constructor(timers) {
    this.#timers = timers;
  }
  /** @param {string} name @param {number} delay @param {() => void} callback */
  start(name, delay, callback) {
    this.cancel(name);
    const expired = () => {
      this.#running.delete(name);
      callback();
    };
    this.#running.set(name, this.#timers.setTimeout(expired, delay));
  }
  /** @param {string} name */
  runs(name) {
    return this.#running.has(name);
  }
  /** @param {string} name */
  cancel(name) {
    this.#timers.clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }
  cancelAll() {
    for (const name of [...this.#running.keys()]) this.cancel(name);
  }
};

// src/sender.js
var RESEND_AFTER = 5e3;
var WINDOW = 100;
var MAX_WINDOW = 32;
var Sender = class {
  #outbox;
  #timers;
  #timeouts;
  #write;
  #ping;
  #changed;
  #pace = new Pace();
  #online = false;
  #window = MAX_WINDOW;
  /** The frame that was refused for now: until it is accepted none goes behind it. @type {number | null} */
  #refused = null;
  /** The frame that the server was missing, and that is on its way again: each behind it complains. @type {number | null} */
  #missing = null;
  /** @type {Search | null} */
  #search = null;
  /**
   * @param {Outbox} outbox
   * @param {Timers} timers
   * @param {{write: (frame: Frame) => void, ping: () => void, changed: () => void}} handlers `ping`: its answer calls `answered()`; `changed`: the outbox did
   */
  constructor(outbox, timers, { write, ping, changed }) {
    this.#outbox = outbox;
    this.#timers = timers;
    this.#timeouts = new Timeouts(timers);
    this.#write = write;
    this.#ping = ping;
    this.#changed = changed;
  }
  get items() {
    return this.#outbox.items;
  }
  get next() {
    return this.#outbox.next;
  }
  /** @param {Omit<Outgoing, "n">} frame */
  queue(frame) {
    const item = this.#outbox.push(frame);
    this.#moved();
    return item;
  }
  /** The server was met: it has stored everything up to `received`. @param {number} received @param {boolean} resumed */
  welcome(received, resumed) {
    if (!resumed) this.#restart();
    this.#outbox.resume(received);
    this.#changed();
  }
  /**
   * What was left from before this page is ours after all; to be followed by `welcome()`.
   * @param {readonly Outgoing[]} items @param {number} next
   */
  adopt(items, next) {
    this.#outbox.adopt(items, next);
  }
  /** Somebody else wrote these; to be followed by `welcome()`. @param {readonly Outgoing[]} [items] all, if left out */
  forget(items) {
    this.#outbox.forget(items);
  }
  /** The line is open for our frames. @param {number} [window] how many may be on their way */
  start(window = WINDOW) {
    this.#window = Math.max(1, Math.min(window, MAX_WINDOW));
    this.#online = true;
    this.#refused = this.#missing = null;
    if (this.#search) this.#search = { ...this.#search, last: this.#outbox.next - 1 };
    this.#pump();
  }
  /** The line is gone. */
  halt() {
    this.#online = false;
    this.#timeouts.cancelAll();
    if (this.#search) this.#search = { ...this.#search, asked: false, suspect: null };
  }
  /** A new session without a past. */
  restart() {
    this.#restart();
    this.#changed();
  }
  /** @param {number} n @returns {Outgoing | undefined} the frame, if it waited */
  accepted(n) {
    const item = this.#outbox.accept(n);
    if (item) this.#pace.accepted();
    this.#progress();
    return item;
  }
  /** The log holds `entry` as our frame `n`. @param {number} n @param {{name: string, data: any}} entry */
  confirmed(n, entry) {
    if (!this.#outbox.items.length) return void this.#outbox.accept(n);
    this.#outbox.confirm(n, entry);
    this.#progress();
  }
  /** The replay is complete. */
  settle() {
    if (!this.#outbox.items.length) return;
    this.#outbox.settle();
    this.#progress();
  }
  /**
   * The server does not take frame `n` for a while, nor what was sent behind it.
   * @param {string} code @param {number} seconds @param {number} [n]
   * @returns {boolean} whether that is news: those behind it are refused like it
   */
  pause(code, seconds, n = this.#outbox.first) {
    const onTheWire = n >= this.#outbox.first && n < this.#outbox.first + this.#outbox.onTheWire;
    if (!onTheWire || this.#refused !== null && n > this.#refused) return false;
    const until = this.#timers.now() + seconds * 1e3;
    this.#pace.refused(code, n, until);
    this.#refused = n;
    this.#outbox.rewind(n);
    this.#timeouts.cancel("resend");
    this.#timeouts.start("pause", seconds * 1e3, () => this.#pump());
    return true;
  }
  /**
   * The server expects `n` next.
   * @param {number} n
   * @returns {boolean} whether that can be: what it has accepted it cannot miss
   */
  expected(n) {
    if (n < this.#outbox.first) return false;
    const known = n === this.#refused || n === this.#missing || this.#search !== null && n === this.#outbox.first;
    if (!Number.isInteger(n) || known || this.#timeouts.runs("pause")) return true;
    this.#missing = n;
    this.#outbox.rewind(n);
    this.#moved();
    return true;
  }
  /** Give up on a frame. @param {number} n @returns {Outgoing | undefined} it, as it was */
  discard(n) {
    const item = this.#outbox.refuse(n);
    if (!item) return void 0;
    this.#pace.renumbered();
    if (this.#refused !== null && n < this.#refused) this.#refused -= 1;
    this.#progress();
    return item;
  }
  /** The line broke under a frame that was too large: give up on the largest. */
  discardLargest() {
    const item = this.#outbox.largestWritten();
    return item && this.discard(item.n);
  }
  /** The frames beyond the server's limit. @param {number} limit in bytes */
  oversized(limit) {
    return this.#outbox.oversized(limit);
  }
  // --- what the server cannot read ---------------------------------------------------------------
  /**
   * The server could not read a frame, and cannot say which.
   * @returns {{searching: boolean, found?: Outgoing}} whether one of ours may be it; and if that is clear, it, given up
   */
  unreadable() {
    const search = this.#search;
    if (search && search.suspect !== null) {
      const found = this.#outbox.refuse(search.suspect);
      search.suspect = null;
      search.last -= 1;
      search.fruitful = true;
      this.#pace.renumbered();
      this.#progress();
      return { searching: true, found };
    }
    if (search) return { searching: true };
    if (!this.#outbox.waiting) return { searching: false };
    this.#begin();
    this.#ask(null);
    return { searching: true };
  }
  /** The line was closed over frames that the server could not read. @returns {boolean} whether another is worth while */
  searchAnew() {
    const before = this.#search;
    if (!this.#outbox.items.length || before?.tried && !before.fruitful) return false;
    this.#begin();
    return true;
  }
  /** A ping of ours was answered. */
  answered() {
    const search = this.#search;
    if (!search) return;
    if (!search.tried) this.#outbox.rewind();
    search.asked = false;
    search.suspect = null;
    this.#pump();
  }
  #begin() {
    this.#search = { asked: false, suspect: null, last: this.#outbox.next - 1, tried: false, fruitful: false };
  }
  /** @param {number | null} suspect */
  #ask(suspect) {
    const search = (
      /** @type {Search} */
      this.#search
    );
    search.asked = true;
    search.suspect = suspect;
    this.#ping();
  }
  #searchOn() {
    const search = (
      /** @type {Search} */
      this.#search
    );
    if (search.asked || this.#outbox.onTheWire) return;
    for (const frame of this.#outbox.take(1)) {
      search.tried = true;
      this.#write(frame);
      this.#ask(frame.n);
    }
  }
  // --- moving on ---------------------------------------------------------------------------------
  /** Something left the outbox: whoever waits may move up. */
  #progress() {
    const { first } = this.#outbox;
    this.#timeouts.cancel("resend");
    if (this.#refused !== null && first > this.#refused) this.#refused = null;
    if (this.#missing !== null && first > this.#missing) this.#missing = null;
    if (this.#search && first > this.#search.last) this.#search = null;
    this.#moved();
  }
  #moved() {
    this.#changed();
    this.#pump();
  }
  #pump() {
    if (!this.#online || this.#timeouts.runs("pause")) return;
    if (this.#search) this.#searchOn();
    else this.#send();
    if (!this.#outbox.waiting || this.#timeouts.runs("resend")) return;
    this.#timeouts.start("resend", RESEND_AFTER, () => this.#resend());
  }
  #send() {
    const now = this.#timers.now();
    const { onTheWire } = this.#outbox;
    const room = Math.min(this.#window - onTheWire, this.#pace.room(now));
    const frames = this.#outbox.take(onTheWire + room, this.#refused ?? Infinity);
    for (const frame of frames) this.#write(frame);
    this.#pace.sent(frames.length, now);
    if (!this.#outbox.more || this.#timeouts.runs("pace")) return;
    const wait = this.#pace.wait(now);
    if (wait) this.#timeouts.start("pace", wait, () => this.#pump());
  }
  #resend() {
    this.#missing = null;
    this.#outbox.rewind();
    this.#pump();
  }
  #restart() {
    this.#outbox.restart();
    this.#pace.renumbered();
  }
};
var ACK_EVERY = 1e3;
var ACK_ENTRIES = 32;
var Acknowledger = class {
  #timeouts;
  #acknowledge;
  #entries = 0;
  /** @param {Timers} timers @param {() => void} acknowledge */
  constructor(timers, acknowledge) {
    this.#timeouts = new Timeouts(timers);
    this.#acknowledge = acknowledge;
  }
  /** @param {number} entries of the log; 0 for what is not in it */
  arrived(entries) {
    this.#entries += entries;
    if (this.#entries >= ACK_ENTRIES) this.#now();
    else if (!this.#timeouts.runs("ack")) this.#timeouts.start("ack", ACK_EVERY, () => this.#now());
  }
  halt() {
    this.#timeouts.cancelAll();
    this.#entries = 0;
  }
  #now() {
    this.halt();
    this.#acknowledge();
  }
};

// src/siblings.js
var NAME2 = "chatsessions";
var Siblings = class {
  #Channel;
  #heard;
  /** @type {BroadcastChannel | null} */
  #channel = null;
  /** @param {Channel | null} Channel @param {(message: any) => void} heard another tab says something */
  constructor(Channel, heard) {
    this.#Channel = Channel;
    this.#heard = heard;
  }
  open() {
    this.close();
    try {
      if (!this.#Channel) return;
      this.#channel = new this.#Channel(NAME2);
      this.#channel.onmessage = ({ data }) => {
        if (data && typeof data === "object") this.#heard(data);
      };
    } catch {
      this.#channel = null;
    }
  }
  close() {
    this.#channel?.close();
    this.#channel = null;
  }
  /** @param {object} message @returns {boolean} whether somebody may hear it */
  say(message) {
    try {
      this.#channel?.postMessage(message);
      return this.#channel !== null;
    } catch {
      return false;
    }
  }
};

// src/storage.js
var KINDS = ["draft", "env", "files", "relayed"];
var Memory = class {
  #storage;
  #key;
  /** Who is here. @type {string | undefined} */
  #reader;
  /**
   * @param {string} url
   * @param {Storage | null} [storage]
   * @param {{owner?: string, key?: string}} [options] who is here, if the page knows; which of several chats of one address it is
   */
  constructor(url, storage = tabStorage(), { owner, key = "" } = {}) {
    this.#storage = storage;
    this.#key = `chatsessions:${url}${key && `#${key}`}`;
    this.#reader = owner;
    if (key && this.empty) this.#inherit(`chatsessions:${url}`);
    if (owner && this.owner && this.owner !== owner) this.#forget();
  }
  /** Who wrote what is here. @returns {string | undefined} */
  get owner() {
    const owner = json(this.#read(`${this.#key}:owner`));
    return typeof owner === "string" ? owner : void 0;
  }
  /**
   * What of it is for who is here: `all`; the `session` alone, which was begun without a login and
   * may have been assigned to them meanwhile; or `nothing`.
   * @returns {"all" | "session" | "nothing"}
   */
  get access() {
    if (this.#reader === void 0 || this.#reader === this.owner) return "all";
    return this.owner ? "nothing" : "session";
  }
  /** Whether anything is here. */
  get empty() {
    return [this.#key, ...this.#keys].every((key) => this.#read(key) === null);
  }
  /**
   * The server says who is here.
   * @param {string} owner
   * @param {boolean} theirs what is here, whoever wrote it; else it is forgotten
   */
  belongsTo(owner, theirs) {
    this.#reader = owner;
    if (this.owner === owner) return;
    if (!theirs) this.#forget();
    this.#write(`${this.#key}:owner`, JSON.stringify(owner));
  }
  /** @returns {Remembered} what is not for who is here is left out, but for a session that may be theirs */
  load() {
    return parse(this.access === "nothing" ? null : this.#read(this.#key));
  }
  /** @param {Remembered} remembered */
  save(remembered) {
    if (!this.#storage) return;
    this.#claim();
    if (this.#write(this.#key, JSON.stringify(remembered))) return;
    this.#write(this.#key, JSON.stringify({ ...remembered, pending: [] }));
  }
  /** What was being written and not sent. */
  get draft() {
    return this.#recall("draft") ?? "";
  }
  set draft(text) {
    this.#keep("draft", text);
  }
  /** Values for the handlers that a person gave; nowhere else are they kept. @returns {Record<string, string>} */
  get env() {
    return strings(json(this.#recall("env")));
  }
  set env(values) {
    this.#keep("env", Object.keys(values).length ? JSON.stringify(values) : "");
  }
  /** What is remembered of a kind. @param {Kind} kind @returns {any} */
  recall(kind) {
    return json(this.#recall(kind));
  }
  /** @param {Kind} kind @param {any} value that JSON can say; `null`: forget */
  keep(kind, value) {
    this.#keep(kind, value === null ? "" : JSON.stringify(value));
  }
  /** The page was left, and may be back: what is here is not a duplicate's. */
  leave() {
    this.#write(`${this.#key}:left`, "1");
  }
  /** Whether it was left before, and not copied from a page that is still there. */
  arrive() {
    const left = this.#read(`${this.#key}:left`) !== null;
    this.#write(`${this.#key}:left`, "");
    return left;
  }
  /** What a release left that had one memory for all chats of an address. @param {string} before */
  #inherit(before) {
    if (this.#read(before) === null || this.#read(`${before}:owner`) !== null) return;
    for (const suffix of ["", ...KINDS.map((kind) => `:${kind}`)]) {
      this.#write(`${this.#key}${suffix}`, this.#read(`${before}${suffix}`) ?? "");
      this.#write(`${before}${suffix}`, "");
    }
  }
  get #keys() {
    return KINDS.map((kind) => `${this.#key}:${kind}`);
  }
  /** @param {Kind} kind */
  #recall(kind) {
    return this.access === "all" ? this.#read(`${this.#key}:${kind}`) : null;
  }
  /** @param {Kind} kind @param {string} text */
  #keep(kind, text) {
    this.#claim();
    this.#write(`${this.#key}:${kind}`, text);
  }
  /** Who is here writes: what somebody else has written is gone. */
  #claim() {
    if (this.#reader !== void 0) this.belongsTo(this.#reader, false);
  }
  #forget() {
    for (const key of [this.#key, ...this.#keys, `${this.#key}:owner`]) this.#write(key, "");
  }
  /** @param {string} key @returns {string | null} */
  #read(key) {
    try {
      return this.#storage?.getItem(key) ?? null;
    } catch {
      return null;
    }
  }
  /** @param {string} key @param {string} value */
  #write(key, value) {
    try {
      if (value) this.#storage?.setItem(key, value);
      else this.#storage?.removeItem(key);
      return true;
    } catch {
      return false;
    }
  }
};
function tabStorage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}
function parse(text) {
  const value = json(text);
  const pending = Array.isArray(value?.pending) ? value.pending.filter(isOutgoing) : [];
  const known = typeof value?.session === "string" && typeof value?.token === "string";
  return {
    session: known ? value.session : null,
    token: known ? value.token : null,
    next: isNumber(value?.next) ? value.next : 1,
    pending,
    ...known && typeof value.profile === "string" ? { profile: value.profile } : {},
    ...known && typeof value.thread === "string" ? { thread: value.thread } : {}
  };
}
function json(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}
function strings(value) {
  if (typeof value !== "object" || Array.isArray(value)) return {};
  return Object.fromEntries(Object.entries(value ?? {}).filter(([, text]) => typeof text === "string"));
}
function isOutgoing(item) {
  if (!isNumber(item?.n)) return false;
  return item.type === "answer" ? typeof item.call === "string" : item.type === "event" && typeof item.name === "string";
}
function isNumber(value) {
  return Number.isInteger(value) && value > 0;
}
function websocketUrl(url, base = globalThis.document?.baseURI) {
  const resolved = new URL(url, base);
  resolved.protocol = resolved.protocol.replace(/^http/, "ws");
  resolved.hash = "";
  return resolved.href;
}

// src/client.js
var WELCOME_TIMEOUT = 1e4;
var SETTLED_AFTER = 5e3;
var HEARTBEAT = 20;
var GOING = 5e3;
var STAYING = 300;
var SAVED_AT_ONCE = 50;
var SAVE_EVERY = 2e3;
var FINAL_STATES = /* @__PURE__ */ new Set(["replaced", "ended", "refused"]);
var ChatClientEvent = class extends Event {
  /** @param {string} type @param {T} detail */
  constructor(type, detail) {
    super(type);
    this.detail = detail;
  }
};
var ChatClient = class extends EventTarget {
  #url;
  #options;
  #timers;
  #timeouts;
  #saving;
  #backoff;
  #memory;
  #identity;
  #hold;
  /** Whether the page that had the session before was left. */
  #returned;
  #page;
  #siblings;
  #sender;
  #acknowledger;
  #inbox = new Inbox();
  #streams = new Streams();
  /** @type {StateDetail} */
  #state = { state: "closed", attempt: 0 };
  /** @type {Frame | null} */
  #turn = null;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Monitor | null} */
  #monitor = null;
  #welcomed = false;
  #reached = false;
  /** The last error frame of this connection: the reason for a close that may follow. @type {Frame | null} */
  #lastError = null;
  /** The end of the log at the `welcome`, until the replay has reached it. @type {number | null} */
  #replayEnd = null;
  /** Who waits for a pong, in the order of their pings. @type {string[]} */
  #asking = [];
  /** How many of our events may be on the wire. @type {number | undefined} */
  #window;
  /** The end of the log at the last pong. */
  #promisedHead = 0;
  #maxFrame = Infinity;
  #ending = false;
  /**
   * @param {string} url of the websocket; a relative one belongs to the page's origin
   * @param {ChatClientOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#url = websocketUrl(url);
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#timeouts = new Timeouts(this.#timers);
    this.#saving = new Timeouts(this.#timers);
    this.#backoff = new Backoff({ random: options.random });
    this.#memory = new Memory(this.#url, options.storage, { owner: options.owner, key: options.key });
    this.#identity = new Identity(this.#memory, options);
    this.#returned = this.#memory.arrive();
    const { page = globalThis.window ?? null, BroadcastChannel = globalThis.BroadcastChannel ?? null, locks = globalThis.navigator?.locks ?? null } = options;
    this.#page = new Page(page, { woke: () => this.#woke(), left: () => this.#left() });
    this.#siblings = new Siblings(BroadcastChannel, (message) => this.#heard(message));
    this.#hold = holdBy(locks, this.#siblings, this.#timers);
    const { left } = this.#identity;
    this.#sender = new Sender(new Outbox(left.pending, left.next), this.#timers, {
      write: (frame) => this.#write(frame),
      ping: () => this.#ping("sender"),
      changed: () => this.#pendingChanged()
    });
    this.#acknowledger = new Acknowledger(this.#timers, () => this.#write({ type: "ack", seq: this.#inbox.received }));
  }
  /** The state and what belongs to it. */
  get state() {
    return this.#state;
  }
  /** Where it connects to. */
  get url() {
    return this.#url;
  }
  /** Whether the server has welcomed us, on this page. */
  get reached() {
    return this.#reached;
  }
  /** The session's id, once there is one. */
  get session() {
    return this.#identity.session;
  }
  /** What shows that the session is ours, for what goes beside the line: files. It changes with every connection. */
  get token() {
    return this.#identity.token;
  }
  /** The profile that the session was begun with, or will be. */
  get profile() {
    return this.#identity.profile;
  }
  set profile(name) {
    this.#identity.profile = name;
  }
  /** The old thread that the session goes on with, if it is not one of its own. */
  get thread() {
    return this.#identity.thread;
  }
  /** Values for the handlers, by their names. */
  get env() {
    return { ...this.#identity.env };
  }
  /** What this tab remembers of the chat. */
  get memory() {
    return this.#memory;
  }
  /** The highest `seq` up to which everything has been reported. */
  get received() {
    return this.#inbox.received;
  }
  /** The running turn, or null. */
  get turn() {
    return this.#turn;
  }
  /** What was sent and is not accepted yet, oldest first. */
  get pending() {
    return [...this.#sender.items];
  }
  /** Text that was written and not sent; it survives a reload. */
  get draft() {
    return this.#memory.draft;
  }
  set draft(text) {
    this.#memory.draft = text;
  }
  /** Connect, or try again at once. */
  connect() {
    const { state } = this.#state;
    if (state === "connecting" || state === "online") return;
    if (state === "closed") this.#listen();
    this.#open();
  }
  /** Hang up. The session goes on, and so can this client: `connect()`. */
  close() {
    this.#hangUp();
    this.#saveNow();
    this.#hold.release();
    this.#page.unlisten();
    this.#siblings.close();
    this.#setState("closed");
  }
  /** Take the conversation back from another tab or device. */
  takeOver() {
    this.connect();
  }
  /** Give the handlers other values. They are kept in the tab's storage alone, and go with the next connection: now. @param {Record<string, string>} values */
  setEnv(values) {
    this.#identity.setEnv(values);
    if (this.#state.state !== "closed" && this.#state.state !== "ended") this.#open();
  }
  /**
   * Begin a new conversation. What the old one has not accepted goes to the new one.
   * @param {{thread?: string, profile?: string}} [options] an old thread to go on with; another profile
   */
  newSession({ thread, profile = this.profile } = {}) {
    this.#hangUp();
    this.#identity.restart(thread, profile);
    this.#ending = false;
    this.#sender.restart();
    this.#restartLog(0, "new");
    this.#backoff.reset();
    if (this.#state.state === "closed") this.#listen();
    this.#open();
  }
  /**
   * Send an event to the session's handlers. It is kept until the server has stored it.
   * @param {string} name
   * @param {any} [data] anything JSON can say
   * @returns {Outgoing} the frame as queued
   * @throws {ChatClientError} if it can never be sent
   */
  send(name, data = {}) {
    return this.#queue({ type: "event", name, data });
  }
  /** Send what a person wrote. @param {string} text @param {string[]} [files] ids of files that were uploaded */
  sendMessage(text, files = []) {
    return this.send("message", { id: uuid(), content: text, ...files.length ? { files } : {} });
  }
  /**
   * Answer an `ask` event. Like an event it is kept until the server has stored it.
   * @param {string} call
   * @param {any} data by the kind of the question: `{content}`, `{id}` of an action, `{files}`: ids
   * @returns {Outgoing} the frame as queued
   * @throws {ChatClientError} if it can never be sent
   */
  answer(call, data) {
    return this.#queue({ type: "answer", call, data });
  }
  /** Cancel the running turn. */
  stop() {
    this.#write({ type: "stop" });
  }
  /** End the session for good; if the line is down, as soon as it is back. */
  end() {
    this.#ending = true;
    if (this.#welcomed) this.#write({ type: "end" });
  }
  // --- the line ---------------------------------------------------------------------------------
  #open() {
    const { state, reason, detail } = this.#state;
    this.#hangUp();
    this.#lastError = null;
    this.#setState("connecting", state === "offline" && reason ? { reason, detail } : {});
    this.#timeouts.start("welcome", WELCOME_TIMEOUT, () => this.#drop());
    try {
      this.#connection = new Connection(this.#url, this.#options.WebSocket ?? WebSocket, {
        opened: () => this.#hello(),
        received: (frame) => this.#receive(frame),
        closed: (code) => this.#closed(code)
      });
    } catch (error) {
      this.#hangUp();
      this.#setState("refused", { detail: String(error) });
    }
  }
  /** Say hello, once it is known that the session is not another tab's, whose duplicate this one is. */
  #hello() {
    const { session } = this;
    const connection = this.#connection;
    if (!session) return this.#sayHello();
    this.#hold.take(session, this.#returned ? GOING : STAYING, (ours) => {
      if (!ours) this.#separate();
      if (connection === this.#connection) this.#sayHello();
    });
  }
  /** Another tab has the session, and sends what waits in it. */
  #separate() {
    this.#identity.separate();
    this.#sender.forget(this.#identity.left.pending);
    this.#sender.restart();
  }
  #sayHello() {
    const { language = globalThis.navigator?.language } = this.#options;
    this.#write(this.#identity.hello(this.#inbox.received, language));
  }
  /** Leave the line, whatever its state, with all that runs on its behalf. */
  #hangUp() {
    this.#connection?.close();
    this.#connection = null;
    this.#monitor?.stop();
    this.#monitor = null;
    this.#welcomed = false;
    this.#asking = [];
    this.#replayEnd = null;
    this.#sender.halt();
    this.#acknowledger.halt();
    this.#timeouts.cancelAll();
  }
  /** The line is of no use any more: come back on another. */
  #drop() {
    this.#hangUp();
    this.#retryLater();
  }
  /** @param {number} code */
  #closed(code) {
    const error = this.#welcomed ? null : this.#lastError;
    const unreadable = code === 4500 && this.#welcomed && this.#lastError?.code === "bad_frame";
    this.#hangUp();
    if (unreadable && this.#sender.searchAnew()) return this.#retryLater(code);
    if (code === 1009) this.#tooLarge(this.#sender.discardLargest());
    if (code < 4500 || code > 4999) this.#retryLater(code, error);
    else if (code === 4509) this.#setState("replaced", { code });
    else if (code === 4503) this.#ended(void 0, code);
    else this.#setState("refused", { code, reason: this.#lastError?.code, detail: this.#lastError?.detail });
  }
  /** @param {string} [reason] @param {number} [code] */
  #ended(reason, code) {
    this.#hangUp();
    this.#ending = false;
    this.#setTurn(null);
    this.#setState("ended", { reason, code });
  }
  /** @param {number} [code] @param {Frame | null} [error] that came instead of a welcome */
  #retryLater(code, error) {
    const delay = this.#backoff.next();
    this.#timeouts.start("retry", delay, () => this.#open());
    this.#setState("offline", { retryIn: delay / 1e3, code, ...error ? { reason: error.code, detail: error.detail } : {} });
  }
  /** @param {"sender" | "monitor"} asking */
  #ping(asking) {
    this.#asking.push(asking);
    this.#write({ type: "ping" });
  }
  /** @param {Frame} frame */
  #write(frame) {
    if (this.#connection?.send(frame)) this.#monitor?.sent();
  }
  // --- frames in --------------------------------------------------------------------------------
  /** @param {Frame} frame */
  #receive(frame) {
    this.#monitor?.heard();
    if (frame.type === "error") this.#error(frame);
    else if (frame.type === "welcome") this.#welcome(frame);
    else if (frame.type === "ended") this.#ended(frame.reason);
    else if (this.#welcomed) this.#receiveLive(frame);
  }
  /** @param {Frame} frame */
  #receiveLive(frame) {
    if (frame.type === "event") this.#entry(frame);
    else if (frame.type === "accepted") this.#accepted(frame);
    else if (frame.type === "token") this.#tokenPiece(frame);
    else if (frame.type === "stream") this.#stream(frame);
    else if (frame.type === "turn") this.#setTurn(frame.status === "running" ? frame : null, frame);
    else if (frame.type === "pong") this.#pong(frame);
  }
  /** @param {Frame} welcome */
  #welcome(welcome) {
    const { session, token, resumed, reason, received, first, head, turn, heartbeat, max_frame } = welcome;
    this.#timeouts.cancel("welcome");
    this.#reached = true;
    const meeting = this.#identity.welcomed(welcome);
    this.#met(meeting);
    this.#maxFrame = max_frame ?? Infinity;
    this.#window = Number.isInteger(welcome.window) ? welcome.window : void 0;
    this.#inbox.resume();
    this.#sender.welcome(received ?? 0, resumed);
    this.#saveNow();
    this.#siblings.say({ session, token });
    this.#hold.keep(session);
    this.#returned = false;
    if (meeting.forget) this.#emit("owner", {});
    if (meeting.again) return resumed ? this.#open() : this.newSession({ thread: this.thread });
    if (!resumed) this.#restartLog(first - 1, this.#identity.reasonOf(reason));
    else if (first > this.#inbox.received + 1) this.#restartLog(first - 1, "gap");
    else if (head < this.#inbox.received) {
      this.#restartLog(0, "gap");
      return this.#drop();
    }
    this.#begin(heartbeat ?? HEARTBEAT, head, turn, Boolean(resumed));
  }
  /** What waits to be sent is theirs who are here, and nobody else's. @param {import("./identity.js").Meeting} meeting */
  #met({ forget, adopt }) {
    if (adopt) this.#sender.adopt(adopt.pending, adopt.next);
    if (forget === "all") this.#sender.forget();
    else if (forget === "left") this.#sender.forget(this.#identity.left.pending);
  }
  /** @param {number} heartbeat @param {number} head @param {any} turn @param {boolean} resumed */
  #begin(heartbeat, head, turn, resumed) {
    this.#welcomed = true;
    this.#promisedHead = 0;
    this.#replayEnd = head;
    this.#monitor = new Monitor(this.#timers, heartbeat * 1e3, {
      ping: () => this.#ping("monitor"),
      dead: () => this.#drop()
    });
    this.#timeouts.start("settled", SETTLED_AFTER, () => this.#backoff.reset());
    this.#setTurn(asTurn(turn));
    this.#setState("online");
    if (!this.#welcomed) return;
    for (const { n } of this.#sender.oversized(this.#maxFrame)) this.#tooLarge(this.#sender.discard(n));
    this.#ending &&= resumed;
    if (this.#ending) this.#write({ type: "end" });
    this.#sender.start(this.#window);
    this.#checkReplay();
  }
  /** @param {Frame} frame */
  #entry(frame) {
    const place = this.#inbox.place(frame.seq);
    if (place === "hole") return this.#drop();
    if (place === "old") return;
    this.#apply({ seq: frame.seq, name: frame.name, data: frame.data, turn: frame.turn, n: frame.n });
    this.#applyParked();
  }
  /** @param {Frame} frame `accepted`, which stands for the entry `seq` */
  #accepted({ n, seq }) {
    const item = this.#sender.accepted(n);
    const known = this.#inbox.has(seq);
    if (item && !known) this.#inbox.park(asEntry(item, seq));
    if (!item && !known) return this.#drop();
    this.#applyParked();
  }
  #applyParked() {
    for (let entry = this.#inbox.unpark(); entry; entry = this.#inbox.unpark()) this.#apply(entry);
  }
  /** The next entry of the log. @param {Entry} entry */
  #apply(entry) {
    const live = this.#replayEnd === null;
    this.#inbox.received = entry.seq;
    if (entry.n != null) this.#sender.confirmed(entry.n, entry);
    this.#streams.follow(entry);
    this.#acknowledger.arrived(1);
    this.#emit("event", { ...entry, live });
    this.#checkReplay();
  }
  #checkReplay() {
    if (this.#replayEnd === null || this.#inbox.received < this.#replayEnd) return;
    this.#replayEnd = null;
    this.#sender.settle();
    this.#emit("ready", {});
  }
  /** @param {Frame} frame */
  #tokenPiece({ message, index, text }) {
    this.#acknowledger.arrived(0);
    if (this.#streams.take(message, index)) this.#emit("token", { message, index, text });
  }
  /** @param {Frame} frame */
  #stream({ message, index, content }) {
    this.#acknowledger.arrived(0);
    this.#streams.resync(message, index);
    this.#emit("stream", { message, content });
  }
  /** @param {Frame} frame */
  #pong({ head }) {
    if (this.#asking.shift() === "sender") return this.#sender.answered();
    if (this.#inbox.received < this.#promisedHead) return this.#drop();
    this.#promisedHead = head ?? 0;
  }
  /** @param {Frame} frame */
  #error({ code, detail, n, retry_after, owner }) {
    if (owner || owner === "" && code === "missing_env") this.#refusedAs(owner);
    this.#lastError = { type: "error", code, detail };
    if (code === "n_gap") return this.#sender.expected(n) ? void 0 : this.#drop();
    if (RETRY_CODES.has(code) && !this.#sender.pause(code, retry_after ?? 1, n ?? void 0) && n != null) return;
    if (code === "bad_frame" && n == null && this.#welcomed) return this.#unreadable(detail);
    const frame = FINAL_CODES.has(code) && n != null ? this.#sender.discard(n) : void 0;
    this.#emit("notice", { code, detail, frame, retryAfter: retry_after });
  }
  /** @param {string} detail */
  #unreadable(detail) {
    const { searching, found } = this.#sender.unreadable();
    if (found || !searching) this.#emit("notice", { code: "bad_frame", detail, frame: found });
  }
  /** Our hello was somebody else's. @param {string} owner who is here */
  #refusedAs(owner) {
    this.#met(this.#identity.refused(owner));
    this.#sender.restart();
    this.#restartLog(0, "new");
    this.#emit("owner", {});
  }
  // --- frames out -------------------------------------------------------------------------------
  /** @param {Omit<Outgoing, "n">} frame */
  #queue(frame) {
    if (FINAL_STATES.has(this.#state.state)) throw new ChatClientError("closed", "This conversation cannot go on here.");
    const copy = sendable(frame);
    if (byteLength({ ...copy, n: this.#sender.next }) > this.#maxFrame) throw new ChatClientError("too_large", this.#limit());
    return { ...this.#sender.queue(copy) };
  }
  /** @param {Outgoing | undefined} frame that will never be sent */
  #tooLarge(frame) {
    this.#emit("notice", { code: "too_large", detail: this.#limit(), frame });
  }
  #limit() {
    const limit = Number.isFinite(this.#maxFrame) ? `: at most ${this.#maxFrame} bytes can be sent at once` : "";
    return `The message is too large${limit}.`;
  }
  #pendingChanged() {
    if (this.#sender.items.length <= SAVED_AT_ONCE) this.#save();
    else if (!this.#saving.runs("save")) this.#saving.start("save", SAVE_EVERY, () => this.#save());
    this.#emit("pending", this.pending);
  }
  // --- what the page says -----------------------------------------------------------------------
  #listen() {
    this.#page.listen();
    this.#siblings.open();
  }
  /** The network or the person is back. */
  #woke() {
    this.#memory.arrive();
    if (this.#state.state === "offline") this.#open();
    else this.#monitor?.probe();
  }
  /** The page goes: to be loaded again, or to come back as it is. */
  #left() {
    this.#saveNow();
    this.#hold.release();
    this.#returned = true;
    this.#memory.leave();
  }
  /** @param {any} message what another tab says, such as a new token: the old one will soon be worth nothing */
  #heard(message) {
    this.#hold.heard(message);
    if (message.session !== this.session || typeof message.token !== "string") return;
    this.#identity.token = message.token;
    this.#save();
  }
  // --- small things -----------------------------------------------------------------------------
  /** @param {number} seq @param {string} reason */
  #restartLog(seq, reason) {
    this.#inbox.restart(seq);
    this.#streams.clear();
    this.#setTurn(null);
    this.#emit("reset", { reason });
  }
  /** @param {State} state @param {Partial<StateDetail>} [rest] */
  #setState(state, rest = {}) {
    this.#state = { state, attempt: this.#backoff.attempt, ...rest };
    this.#emit("state", this.#state);
  }
  /** @param {Frame | null} turn @param {Frame | null} [report] */
  #setTurn(turn, report = turn) {
    this.#turn = turn;
    this.#emit("turn", report && { turn: report.turn, name: report.name, status: report.status });
  }
  #save() {
    this.#saving.cancel("save");
    this.#identity.save(this.#sender.next, this.#sender.items);
  }
  /** Write down what has changed, if that has not been done yet. */
  #saveNow() {
    if (this.#saving.runs("save")) this.#save();
  }
  /** @param {string} type @param {any} detail */
  #emit(type, detail) {
    this.dispatchEvent(new ChatClientEvent(type, detail));
  }
};
function sendable(frame) {
  const { type, name, call, data } = frame;
  if (type === "event" && !(typeof name === "string" && NAME.test(name))) throw new ChatClientError("bad_name", "An event's name has 1 to 100 characters.");
  if (name === "answer") throw new ChatClientError("bad_name", "An answer to a question is sent by answer().");
  if (type === "answer" && !(typeof call === "string" && call.length <= 100)) throw new ChatClientError("bad_call", "A question is named by its call.");
  let copy;
  try {
    copy = copied(frame);
  } catch (error) {
    throw new ChatClientError("bad_data", `The data cannot be sent as JSON: ${error}`);
  }
  if (copy.data === void 0) throw new ChatClientError("bad_data", `The data cannot be sent as JSON: ${typeof data}`);
  if (isTooDeep(copy.data)) throw new ChatClientError("bad_data", `The data is nested deeper than ${MAX_DEPTH} levels.`);
  return copy;
}
export {
  ChatClient,
  ChatClientError,
  ChatClientEvent
};
