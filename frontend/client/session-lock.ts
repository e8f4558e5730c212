/** Which tab has a session: a duplicate of it has the same storage, and is another one. */
import type { Timeouts } from "./clock.ts";
import { KEEPING } from "./limits.ts";

/** What `navigator.locks` can do. */
export type Locks = Pick<LockManager, "request">;

/**
 * Hold a session by a lock of the browser's that goes with the page. Without locks every tab has what it remembers.
 * @param locks that only pages with TLS have, and those on `localhost`
 */
export function sessionLock(locks: Locks | null | undefined, timeouts: Timeouts) {
  /** What is held, or asked for. */
  let held: string | null = null;
  /** Who waits to be told, while it is asked for. */
  let waiting: ((ours: boolean) => void) | null = null;
  /** Stops asking for the lock, or gives it up. */
  let stop = new AbortController();

  const ask = async (patience: number) => {
    const asked = stop;
    timeouts.start("lock", patience, () => asked.abort());
    try {
      await locks!.request(`chatsessions:${held}`, { signal: asked.signal }, () => {
        if (asked !== stop) return undefined;
        queueMicrotask(() => asked === stop && answered(true));
        return new Promise((left) => asked.signal.addEventListener("abort", left));
      });
    } catch {
      // Where locks are forbidden there are none: some browsers throw where others refuse.
      if (asked === stop) answered(!asked.signal.aborted);
    }
  };

  const answered = (ours: boolean) => {
    const told = waiting;
    timeouts.cancel("lock");
    waiting = null;
    if (!ours) release();
    told?.(ours);
  };

  /** Hold nothing. */
  const release = () => {
    timeouts.cancel("lock");
    held = waiting = null;
    stop.abort();
    stop = new AbortController();
  };

  return {
    release,

    /**
     * Hold a session instead of any other.
     * @param told at once, where nobody has to be asked
     * @param patience milliseconds to wait for another page to leave it. Default: for when the server says that it is ours
     */
    take(session: string, told: (ours: boolean) => void = () => {}, patience: number = KEEPING) {
      if (locks && session !== held) {
        release();
        held = session;
        waiting = told;
        ask(patience);
      } else if (waiting) waiting = told;
      else told(true);
    },
  };
}
