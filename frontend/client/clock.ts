/** Time, replaceable in tests. */

/** The clock: milliseconds since some moment, whatever is done to the time of day. */
export interface Timers {
  setTimeout: (callback: () => void, delay: number) => any;
  clearTimeout: (timer: any) => void;
  now: () => number;
}

export const systemTimers: Timers = {
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (timer) => clearTimeout(timer),
  now: () => performance.now(),
};

/** A handful of timeouts by name: at most one of each runs, and all can be cancelled at once. */
export class Timeouts {
  #timers;
  #running: Map<string, any> = new Map();

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  start(name: string, delay: number, callback: () => void) {
    this.cancel(name);
    const expired = () => {
      this.#running.delete(name);
      callback();
    };
    this.#running.set(name, this.#timers.setTimeout(expired, delay));
  }

  runs(name: string) {
    return this.#running.has(name);
  }

  cancel(name: string) {
    this.#timers.clearTimeout(this.#running.get(name));
    this.#running.delete(name);
  }

  cancelAll() {
    for (const name of [...this.#running.keys()]) this.cancel(name);
  }
}
