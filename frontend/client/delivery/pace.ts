/** How fast a server takes what is sent to it. */
import { MARGIN, SAVED } from "../limits.ts";

/**
 * With each event that it takes, a little faster: it may be able to take more by now. A rate limit
 * stays what it is; a handler that was busy may be much quicker.
 */
const QUICKER: Record<string, number> = { rate_limited: 0.995, busy: 0.98 };

/**
 * Learn from refusals. At each of them nothing is left of what the server allows, so between two
 * of them it has taken exactly what it can take in that time.
 */
export function createPace() {
  /** Milliseconds for each event; 0 while it is not known. */
  let interval = 0;
  let quicker = 1;
  /** The last event that was refused, and when it can be taken. */
  let last: { clientSeq: number; at: number } | null = null;
  /** When the next may go. */
  let next = 0;

  return {
    /** How many events may go now. */
    room: (now: number) => (interval ? Math.max(0, Math.floor((now - next) / interval) + 1) : Infinity),

    /** How long the next has to wait, in milliseconds. */
    wait: (now: number) => (interval ? Math.max(0, next - now) : 0),

    /** So many were sent. */
    sent(count: number, now: number) {
      next = Math.max(next, now - SAVED * interval) + count * interval;
    },

    accepted() {
      interval *= quicker;
    },

    /** Event `clientSeq` was refused, and can be taken at `at`. @param at in milliseconds */
    refused(code: string, clientSeq: number, at: number) {
      const change = QUICKER[code];
      if (!change) return; // it says nothing about speed
      quicker = change;
      if (last && clientSeq > last.clientSeq) interval = (MARGIN * Math.max(0, at - last.at)) / (clientSeq - last.clientSeq);
      last = { clientSeq, at };
      next = at;
    },

    /** The numbers are others from now on. */
    renumbered() {
      last = null;
    },
  };
}
