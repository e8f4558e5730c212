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

/**
 * One tab's memory of one chat, in `sessionStorage`: another tab is another session.
 *
 * A browser may forbid storage, be out of room, or hold something that is not ours: then the chat
 * works all the same, and only a reload forgets.
 */
export class Memory {
  #storage;
  #key;

  /** @param {string} url @param {Storage | null} [storage] */
  constructor(url, storage = tabStorage()) {
    this.#storage = storage;
    this.#key = `chatsessions:${url}`;
  }

  /** @returns {Remembered} */
  load() {
    return parse(this.#read(this.#key));
  }

  /** @param {Remembered} remembered */
  save(remembered) {
    if (this.#write(this.#key, JSON.stringify(remembered))) return;
    // Without room for everything, the way back into the session matters most.
    this.#write(this.#key, JSON.stringify({ ...remembered, pending: [] }));
  }

  /** What was being written and not sent. */
  get draft() {
    return this.#read(`${this.#key}:draft`) ?? "";
  }

  set draft(text) {
    this.#write(`${this.#key}:draft`, text);
  }

  /** Values for the handlers that a person gave; nowhere else are they kept. @returns {Record<string, string>} */
  get env() {
    return strings(json(this.#read(`${this.#key}:env`)));
  }

  set env(values) {
    this.#write(`${this.#key}:env`, Object.keys(values).length ? JSON.stringify(values) : "");
  }

  /** What is remembered of a kind under a name of the page's own. @param {string} kind @returns {any} */
  recall(kind) {
    return json(this.#read(`${this.#key}:${kind}`));
  }

  /** @param {string} kind @param {any} value that JSON can say; `null`: forget */
  keep(kind, value) {
    this.#write(`${this.#key}:${kind}`, value === null ? "" : JSON.stringify(value));
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
