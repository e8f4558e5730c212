/** What a tab remembers across a reload. */

/** @typedef {import("./delivery.js").Outgoing} Outgoing */

/**
 * @typedef {object} Remembered
 * @property {string | null} session
 * @property {string | null} token
 * @property {number} next the number of the next frame
 * @property {Outgoing[]} pending frames not yet accepted
 * @property {string} [profile] that the session was begun with
 * @property {string} [thread] that the session goes on with
 */

/** What is kept beside the session and what waits to be sent. @typedef {"draft" | "env" | "files" | "relayed"} Kind @type {Kind[]} */
const KINDS = ["draft", "env", "files", "relayed"];

/**
 * One tab's memory of one chat, in `sessionStorage`: another tab is another session.
 *
 * It belongs to who wrote it, and is read by nobody else. Its `owner` is a keyed hash that the
 * server makes of a user: empty for somebody who is not logged in, `undefined` while it is not known.
 *
 * A browser may forbid storage, be out of room, or hold something that is not ours: then the chat
 * works all the same, and only a reload forgets.
 */
export class Memory {
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
    // Of somebody who is logged out the rest may still come back; another user is another person.
    if (owner && this.owner && this.owner !== owner) this.#forget();
  }

  /** Who wrote what is here. @returns {string | undefined} */
  get owner() {
    const owner = json(this.#read(`${this.#key}:owner`));
    return typeof owner === "string" ? owner : undefined;
  }

  /**
   * What of it is for who is here: `all`; the `session` alone, which was begun without a login and
   * may have been assigned to them meanwhile; or `nothing`.
   * @returns {"all" | "session" | "nothing"}
   */
  get access() {
    if (this.#reader === undefined || this.#reader === this.owner) return "all";
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
    // Without room for everything, the way back into the session matters most.
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
    if (this.#reader !== undefined) this.belongsTo(this.#reader, false);
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
}

/** @returns {Storage | null} */
function tabStorage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null; // forbidden, as in a sandboxed frame
  }
}

/** @param {string | null} text @returns {Remembered} */
function parse(text) {
  const value = json(text);
  const pending = Array.isArray(value?.pending) ? value.pending.filter(isOutgoing) : [];
  const known = typeof value?.session === "string" && typeof value?.token === "string";
  return {
    session: known ? value.session : null,
    token: known ? value.token : null,
    next: isNumber(value?.next) ? value.next : 1,
    pending,
    ...(known && typeof value.profile === "string" ? { profile: value.profile } : {}),
    ...(known && typeof value.thread === "string" ? { thread: value.thread } : {}),
  };
}

/** @param {string | null} text @returns {any} what it says, or null if it is not ours */
function json(text) {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null;
  }
}

/** @param {any} value @returns {Record<string, string>} those of its values that are strings */
function strings(value) {
  if (typeof value !== "object" || Array.isArray(value)) return {};
  return Object.fromEntries(Object.entries(value ?? {}).filter(([, text]) => typeof text === "string"));
}

/** @param {any} item */
function isOutgoing(item) {
  if (!isNumber(item?.n)) return false;
  return item.type === "answer" ? typeof item.call === "string" : item.type === "event" && typeof item.name === "string";
}

/** @param {any} value */
function isNumber(value) {
  return Number.isInteger(value) && value > 0;
}

/** The websocket address that belongs to an address of the page. @param {string} url @param {string} [base] */
export function websocketUrl(url, base = globalThis.document?.baseURI) {
  const resolved = new URL(url, base);
  resolved.protocol = resolved.protocol.replace(/^http/, "ws");
  resolved.hash = "";
  return resolved.href;
}
