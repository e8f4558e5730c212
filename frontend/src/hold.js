/** Which tab has a session: a duplicate of it has the same storage, and is another one. */

/** What `navigator.locks` can do. @typedef {Pick<LockManager, "request">} Locks */

/**
 * Holds a session for this tab, by a lock of the browser's that goes with the page.
 *
 * Without locks, as on a page without TLS, everybody has what they ask for.
 */
export class Hold {
  #locks;
  #timers;
  /** What is held, or asked for. @type {string | null} */
  #session = null;
  #held = false;
  /** @type {(ours: boolean) => void} */
  #told = () => {};
  /** Gives it up, or stops asking. */
  #leave = () => {};

  /** @param {Locks | null} locks @param {import("./timers.js").Timers} timers */
  constructor(locks, timers) {
    this.#locks = locks;
    this.#timers = timers;
  }

  /**
   * Hold a session instead of any other.
   * @param {string} session
   * @param {number} patience milliseconds to wait for another page to leave it
   * @param {(ours: boolean) => void} told at once, where nobody has to be asked
   */
  take(session, patience, told) {
    if (!this.#locks || (this.#held && this.#session === session)) return told(true);
    this.#told = told;
    if (this.#session === session) return undefined; // it is on its way
    this.release();
    this.#told = told;
    this.#session = session;
    this.#ask(this.#locks, session, patience);
    return undefined;
  }

  /** Hold nothing. */
  release() {
    this.#leave();
    this.#leave = () => {};
    this.#told = () => {};
    this.#session = null;
    this.#held = false;
  }

  /** @param {Locks} locks @param {string} session @param {number} patience */
  #ask(locks, session, patience) {
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
    locks.request(`chatsessions:${session}`, { signal: stop.signal }, granted).catch((/** @type {Error} */ error) => {
      if (!current()) return;
      this.#timers.clearTimeout(timer);
      const told = this.#told;
      this.release();
      told(error.name !== "AbortError"); // where locks are forbidden there are none
    });
  }
}
