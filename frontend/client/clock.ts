/** Time, replaceable in tests. */

/** The clock: milliseconds since some moment, whatever is done to the time of day. */
export interface Timers {
  setTimeout: (callback: () => void, delay: number) => any;
  clearTimeout: (timer: any) => void;
  now: () => number;
}

export const systemTimers: Timers = { setTimeout, clearTimeout, now: () => performance.now() };

export type Timeouts = ReturnType<typeof timeoutsBy>;

/** A handful of timeouts by name: at most one of each runs, and all can be cancelled at once. @param run calls back */
export function timeoutsBy({ setTimeout, clearTimeout, now }: Timers, run: (callback: () => void) => void) {
  const running: Map<string, any> = new Map();
  const cancel = (name: string) => {
    clearTimeout(running.get(name));
    running.delete(name);
  };
  const runs = (name: string) => running.has(name);
  const start = (name: string, delay: number, callback: () => void) => {
    const expired = () => {
      running.delete(name);
      callback();
    };
    cancel(name);
    running.set(name, setTimeout(() => run(expired), delay));
  };
  return {
    now,
    cancel,
    cancelAll: () => [...running.keys()].forEach(cancel),
    runs,
    /** Start it instead of one of this name that runs. */
    start,
    /** Start it, unless one of this name runs. */
    ensure(name: string, delay: number, callback: () => void) {
      if (!runs(name)) start(name, delay, callback);
    },
  };
}
