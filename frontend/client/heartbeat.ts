/** The watch over a connection. */
import type { Timeouts } from "./clock.ts";
import { MAX_PONG_WAIT } from "./limits.ts";

export type Heartbeat = ReturnType<typeof startHeartbeat>;

/**
 * Keep a silent line alive, and notice when it is dead.
 * @param timeouts of the connection: it ends with them
 * @param silence milliseconds before a ping
 * @param ping `silent`: nothing has gone over the line for so long
 * @param backlog the bytes that have not left the browser
 */
export function startHeartbeat(timeouts: Timeouts, silence: number, ping: (silent: boolean) => void, dead: () => void, backlog: () => number) {
  let heardAt = timeouts.now();
  let sentAt = heardAt;
  /** When the unanswered ping was sent */
  let pingedAt: number | null = null;
  /** The bytes that had not left the browser when we last looked. */
  let left = 0;

  /** When to look again: at the end of the silence, or of the wait for an answer. */
  const deadline = () => (pingedAt === null ? Math.min(heardAt, sentAt) + silence : pingedAt + Math.min(silence, MAX_PONG_WAIT));

  const ask = (silent: boolean) => {
    pingedAt = timeouts.now();
    ping(silent);
    left = backlog();
  };

  const check = () => {
    const now = timeouts.now();
    if (now >= deadline()) {
      if (pingedAt === null) ask(true);
      else {
        const before = left;
        left = backlog();
        if (left >= before) return dead();
        // The ping waits behind what leaves slowly: the line lives.
        pingedAt = now;
      }
    }
    timeouts.start("heartbeat", deadline() - now, check);
  };

  check();
  return {
    heard() {
      heardAt = timeouts.now();
      pingedAt = null;
    },
    sent() {
      sentAt = timeouts.now();
    },
    /** Ask at once whether the line lives, as after a sleep. */
    probe() {
      if (pingedAt === null) ask(false);
      check();
    },
  };
}
