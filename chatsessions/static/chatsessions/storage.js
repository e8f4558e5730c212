/** What a tab remembers across a reload. */

/** @typedef {import("./delivery.js").Outgoing} Outgoing */

/**
 * @typedef {object} Remembered
 * @property {string | null} session
 * @property {string | null} token
 * @property {number} next the number of the next frame
 * @property {Outgoing[]} pending frames not yet accepted
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
  /** @type {any} */
  let value = null;
  try {
    value = JSON.parse(text ?? "null");
  } catch {
    // not ours
  }
  const pending = Array.isArray(value?.pending) ? value.pending.filter(isOutgoing) : [];
  const known = typeof value?.session === "string" && typeof value?.token === "string";
  return {
    session: known ? value.session : null,
    token: known ? value.token : null,
    next: isNumber(value?.next) ? value.next : 1,
    pending,
  };
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
export function websocketUrl(url, base = globalThis.location?.href) {
  const resolved = new URL(url, base);
  resolved.protocol = resolved.protocol.replace(/^http/, "ws");
  resolved.hash = "";
  return resolved.href;
}
