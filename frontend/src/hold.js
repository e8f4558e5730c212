/** Which tab has a session: a duplicate of it has the same storage, and is another one. */
import { uuid } from "./frames.js";

/** What `navigator.locks` can do. @typedef {Pick<LockManager, "request">} Locks */

/**
 * Whether this tab has a session.
 * @typedef {object} Hold
 * @property {(session: string, patience: number, told: (ours: boolean) => void) => void} take hold it instead of any other; `patience`: milliseconds to wait for another page to leave it; `told`: at once, where nobody has to be asked
 * @property {(session: string) => void} keep hold it instead of any other: the server says that it is ours
 * @property {() => void} release hold nothing
 * @property {(message: any) => void} heard what another tab says
 */

/**
 * @param {Locks | null} locks that only pages with TLS have, and those on `localhost`
 * @param {import("./siblings.js").Siblings} siblings
 * @param {import("./timers.js").Timers} timers
 * @returns {Hold}
 */
export function holdBy(locks, siblings, timers) {
  return locks ? new Lock(locks, timers) : new Question(siblings, timers);
}

/** Holds a session by a lock of the browser's that goes with the page. @implements {Hold} */
class Lock {
  #locks;
  #timers;
  /** What is held, or asked for. @type {string | null} */
  #session = null;
  #held = false;
  /** @type {(ours: boolean) => void} */
  #told = () => {};
  /** Gives it up, or stops asking. */
  #leave = () => {};

  /** @param {Locks} locks @param {import("./timers.js").Timers} timers */
  constructor(locks, timers) {
    this.#locks = locks;
    this.#timers = timers;
  }

  /** @param {string} session @param {number} patience @param {(ours: boolean) => void} told */
  take(session, patience, told) {
    if (this.#held && this.#session === session) return told(true);
    this.#told = told;
    if (this.#session === session) return undefined; // it is on its way
    this.release();
    this.#told = told;
    this.#session = session;
    this.#ask(session, patience);
    return undefined;
  }

  /** @param {string} session */
  keep(session) {
    this.take(session, KEEPING, () => {});
  }

  release() {
    this.#leave();
    this.#leave = () => {};
    this.#told = () => {};
    this.#session = null;
    this.#held = false;
  }

  heard() {}

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
    const granted = () =>
      new Promise((/** @type {(value: void) => void} */ resolve) => {
        this.#timers.clearTimeout(timer);
        if (!current()) return resolve();
        this.#held = true;
        this.#leave = resolve;
        const told = this.#told;
        queueMicrotask(() => told(true));
      });
    this.#locks.request(`chatsessions:${session}`, { signal: stop.signal }, granted).catch((/** @type {Error} */ error) => {
      if (!current()) return;
      this.#timers.clearTimeout(timer);
      const told = this.#told;
      this.release();
      told(error.name !== "AbortError"); // where locks are forbidden there are none
    });
  }
}

/** Milliseconds to wait for the lock of a session that the server says is ours. */
const KEEPING = 5_000;
/** Milliseconds for another tab's answer. */
const ANSWER_WITHIN = 150;

/**
 * Holds a session by asking the other tabs whether one of them has it: without an answer nobody has.
 * Of two that ask at the same time, as tabs restored together do, the one with the lower id has it.
 * @implements {Hold}
 */
class Question {
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
      return undefined;
    }
    this.keep(session);
    if (!this.#siblings.say({ asks: session, by: this.#id })) return told(true);
    this.#told = told;
    this.#timer = this.#timers.setTimeout(() => this.#answered(true), ANSWER_WITHIN);
    return undefined;
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
}
