/** How fast a server takes what is sent to it. */

/** A little slower than it can, so that it need not refuse. */
const MARGIN = 1.03;
/**
 * With each event that it takes, a little faster: it may be able to take more by now. A rate limit
 * stays what it is; a handler that was busy may be much quicker.
 */
const QUICKER: Record<string, number> = { rate_limited: 0.995, busy: 0.98 };
/** How many events may go at once after a while without any. */
const SAVED = 32;

/**
 * Learns from refusals. At each of them nothing is left of what the server allows, so between two
 * of them it has taken exactly what it can take in that time.
 */
export class Pace {
  /** Milliseconds for each event; 0 while it is not known. */
  #interval = 0;
  #quicker = 1;
  /** The last event that was refused, and when it can be taken. */
  #refused: { n: number; at: number } | null = null;
  /** When the next may go. */
  #next = 0;

  /** How many events may go now. */
  room(now: number) {
    if (!this.#interval) return Infinity;
    return Math.max(0, Math.floor((now - this.#next) / this.#interval) + 1);
  }

  /** How long the next has to wait, in milliseconds. */
  wait(now: number) {
    return this.#interval ? Math.max(0, this.#next - now) : 0;
  }

  /** So many were sent. */
  sent(count: number, now: number) {
    this.#next = Math.max(this.#next, now - SAVED * this.#interval) + count * this.#interval;
  }

  accepted() {
    this.#interval *= this.#quicker;
  }

  /** Event `n` was refused, and can be taken at `at`. @param at in milliseconds */
  refused(code: string, n: number, at: number) {
    const quicker = QUICKER[code];
    if (quicker === undefined) return; // it says nothing about speed
    this.#quicker = quicker;
    const before = this.#refused;
    if (before && n > before.n) this.#interval = (MARGIN * Math.max(0, at - before.at)) / (n - before.n);
    this.#refused = { n, at };
    this.#next = at;
  }

  /** The numbers are others from now on. */
  renumbered() {
    this.#refused = null;
  }
}
