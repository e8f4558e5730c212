/** When what goes out goes out: repeats, pauses, acknowledgements. */
import { Outbox } from "./delivery.js";
import { Timeouts } from "./timers.js";

/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */
/** @typedef {import("./timers.js").Timers} Timers */

/** Milliseconds without `accepted` before everything unaccepted is sent again. */
const RESEND_AFTER = 5_000;
/** How many frames may be on their way: a long queue meets the server's rate limit in small portions. */
const WINDOW = 16;
/** Milliseconds in which the same `n_gap` is one complaint: each frame behind a gap causes another. */
const SAME_GAP = 1_000;

/** Brings the outbox across, whatever the line and the server do. */
export class Sender {
  #outbox;
  #timers;
  #timeouts;
  #write;
  #changed;
  #online = false;
  /** @type {{n: number, at: number} | null} */
  #lastGap = null;

  /**
   * @param {Outbox} outbox
   * @param {Timers} timers
   * @param {{write: (frame: Frame) => void, changed: () => void}} handlers `changed`: the outbox did
   */
  constructor(outbox, timers, { write, changed }) {
    this.#outbox = outbox;
    this.#timers = timers;
    this.#timeouts = new Timeouts(timers);
    this.#write = write;
    this.#changed = changed;
  }

  get items() {
    return this.#outbox.items;
  }

  get next() {
    return this.#outbox.next;
  }

  /** @param {Omit<Outgoing, "n">} frame */
  queue(frame) {
    const item = this.#outbox.push(frame);
    this.#moved();
    return item;
  }

  /** The server was met: it has stored everything up to `received`. @param {number} received @param {boolean} resumed */
  welcome(received, resumed) {
    if (!resumed) this.#outbox.restart();
    this.#outbox.resume(received);
    this.#changed();
  }

  /**
   * What was left from before this page is ours after all; to be followed by `welcome()`.
   * @param {readonly Outgoing[]} items @param {number} next
   */
  adopt(items, next) {
    this.#outbox.adopt(items, next);
  }

  /** Somebody else wrote these; to be followed by `welcome()`. @param {readonly Outgoing[]} [items] all, if left out */
  forget(items) {
    this.#outbox.forget(items);
  }

  /** The line is open for our frames. */
  start() {
    this.#online = true;
    this.#lastGap = null;
    this.#pump();
  }

  /** The line is gone. */
  halt() {
    this.#online = false;
    this.#timeouts.cancelAll();
  }

  /** A new session without a past. */
  restart() {
    this.#outbox.restart();
    this.#changed();
  }

  /** @param {number} n @returns {Outgoing | undefined} the frame, if it waited */
  accepted(n) {
    const item = this.#outbox.accept(n);
    this.#progress();
    return item;
  }

  /** The log holds `entry` as our frame `n`. @param {number} n @param {{name: string, data: any}} entry */
  confirmed(n, entry) {
    if (!this.#outbox.items.length) return void this.#outbox.accept(n);
    this.#outbox.confirm(n, entry);
    this.#progress();
  }

  /** The replay is complete. */
  settle() {
    if (!this.#outbox.items.length) return;
    this.#outbox.settle();
    this.#progress();
  }

  /** Send nothing for a while, then everything that is not accepted. @param {number} seconds */
  pause(seconds) {
    this.#timeouts.cancel("resend");
    this.#timeouts.start("pause", seconds * 1000, () => this.#resend());
  }

  /** The server expects `n` next. @param {number} n */
  expected(n) {
    const now = this.#timers.now();
    const repeated = this.#lastGap?.n === n && now - this.#lastGap.at < SAME_GAP;
    if (!Number.isInteger(n) || repeated || this.#timeouts.runs("pause")) return;
    this.#lastGap = { n, at: now };
    this.#outbox.expect(n);
    this.#moved();
  }

  /** Give up on a frame. @param {number} n @returns {Outgoing | undefined} it, as it was */
  discard(n) {
    const item = this.#outbox.refuse(n);
    if (item) this.#progress();
    return item;
  }

  /** The line broke under a frame that was too large: give up on the largest. */
  discardLargest() {
    const item = this.#outbox.largestWritten();
    return item && this.discard(item.n);
  }

  /** The frames beyond the server's limit. @param {number} limit in bytes */
  oversized(limit) {
    return this.#outbox.oversized(limit);
  }

  /** Something left the outbox: whoever waits may move up. */
  #progress() {
    this.#timeouts.cancel("resend");
    this.#lastGap = null;
    this.#moved();
  }

  #moved() {
    this.#changed();
    this.#pump();
  }

  #pump() {
    if (!this.#online || this.#timeouts.runs("pause")) return;
    for (const frame of this.#outbox.take(WINDOW)) this.#write(frame);
    if (!this.#outbox.waiting || this.#timeouts.runs("resend")) return;
    this.#timeouts.start("resend", RESEND_AFTER, () => this.#resend());
  }

  #resend() {
    this.#outbox.rewind();
    this.#pump();
  }
}

/** Milliseconds between acknowledgements while something arrives, and entries that bring one at once. */
const ACK_EVERY = 1_000;
const ACK_ENTRIES = 32;

/** Tells the server how far we are, soon after something has come. */
export class Acknowledger {
  #timeouts;
  #acknowledge;
  #entries = 0;

  /** @param {Timers} timers @param {() => void} acknowledge */
  constructor(timers, acknowledge) {
    this.#timeouts = new Timeouts(timers);
    this.#acknowledge = acknowledge;
  }

  /** @param {number} entries of the log; 0 for what is not in it */
  arrived(entries) {
    this.#entries += entries;
    if (this.#entries >= ACK_ENTRIES) this.#now();
    else if (!this.#timeouts.runs("ack")) this.#timeouts.start("ack", ACK_EVERY, () => this.#now());
  }

  halt() {
    this.#timeouts.cancelAll();
    this.#entries = 0;
  }

  #now() {
    this.halt();
    this.#acknowledge();
  }
}
