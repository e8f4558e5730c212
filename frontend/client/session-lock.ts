/** Which tab has a session: a duplicate of it has the same storage, and is another one. */
import type { Timeouts } from "./clock.ts";
import { ANSWER_WITHIN, KEEPING } from "./limits.ts";
import { uuid } from "./protocol.ts";
import type { Siblings } from "./siblings.ts";

/** What `navigator.locks` can do. */
export type Locks = Pick<LockManager, "request">;

/**
 * Hold a session by a lock of the browser's that goes with the page.
 *
 * Without locks, by asking the other tabs whether one of them has it: without an answer nobody has. Of two
 * that ask at the same time, as tabs restored together do, the one with the lower id has it.
 * @param locks that only pages with TLS have, and those on `localhost`
 */
export function sessionLock(locks: Locks | null | undefined, siblings: Siblings, timeouts: Timeouts) {
  const id = uuid();
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
      await locks?.request(`chatsessions:${held}`, { signal: asked.signal }, () => {
        if (asked !== stop) return undefined;
        queueMicrotask(() => asked === stop && answered(true));
        return new Promise((left) => asked.signal.addEventListener("abort", left));
      });
    } catch (error) {
      // Where locks are forbidden there are none: some browsers throw where others refuse.
      if (asked === stop) answered((error as Error).name !== "AbortError");
    }
  };

  const answered = (ours: boolean) => {
    const told = waiting;
    timeouts.cancel("lock");
    waiting = null;
    if (!ours) release();
    told?.(ours);
  };

  /**
   * Hold a session instead of any other.
   * @param patience milliseconds to wait for another page to leave it; one that has left answers no question
   * @param told at once, where nobody has to be asked
   */
  const take = (session: string, patience: number, told: (ours: boolean) => void) => {
    if (session !== held) {
      release();
      held = session;
      waiting = told;
      if (locks) ask(patience);
      else if (siblings.say({ asks: session, by: id })) timeouts.start("lock", ANSWER_WITHIN, () => answered(true));
      else answered(true);
    } else if (waiting) waiting = told;
    else told(true);
  };

  /** Hold nothing. */
  const release = () => {
    timeouts.cancel("lock");
    held = waiting = null;
    const before = stop;
    stop = new AbortController();
    before.abort();
  };

  return {
    take,
    release,
    /** Hold a session instead of any other: the server says that it is ours. */
    keep(session: string) {
      if (locks) return take(session, KEEPING, () => {});
      release();
      held = session;
    },
    /** What another tab says. */
    heard({ asks, has, by, to }: any) {
      const asked = held !== null && asks === held;
      if (waiting && ((has === held && to === id) || (asked && by < id))) answered(false);
      else if (asked) siblings.say({ has: asks, to: by });
    },
  };
}
