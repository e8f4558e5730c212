/** Time, replaceable in tests. */

/**
 * The clock. Times in milliseconds.
 * @typedef {object} Timers
 * @property {(callback: () => void, delay: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {() => number} now
 */

/** @type {Timers} */
export const systemTimers = {
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (timer) => clearTimeout(timer),
  now: () => Date.now(),
};

/** A handful of timeouts by name: at most one of each runs, and all can be cancelled at once. */
export class Timeouts {
  #timers;
  /** @type {Map<string, any>} */
  #running = new Map();

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
}
