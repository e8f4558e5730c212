/** When what goes out goes out: repeats, pauses, acknowledgements. */
import { Outbox } from "./delivery.js";
import { Pace } from "./pace.js";
import { Timeouts } from "./timers.js";

/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */
/** @typedef {import("./timers.js").Timers} Timers */

/** Milliseconds without `accepted` before everything unaccepted is sent again. */
const RESEND_AFTER = 5_000;
/** How many frames may be on their way, if the server does not say: what it lets wait for its turn. */
const WINDOW = 100;
/** How many are, at most: behind one that is refused, all are sent again. */
const MAX_WINDOW = 32;

/**
 * A search for the frame that the server cannot read: it cannot say which. Each frame goes alone,
 * and a ping behind it: what the server says before it answers that is about this one.
 * @typedef {object} Search
 * @property {boolean} asked whether a ping is not answered yet
 * @property {number | null} suspect the number of the frame before that ping
 * @property {number} last the number of the last frame that it may be
 * @property {boolean} tried whether a frame has gone alone
 * @property {boolean} fruitful whether one was found
 */

/** Brings the outbox across, whatever the line and the server do. */
export class Sender {
  #outbox;
  #timers;
  #timeouts;
  #write;
  #ping;
  #changed;
  #pace = new Pace();
  #online = false;
  #window = MAX_WINDOW;
  /** The frame that was refused for now: until it is accepted none goes behind it. @type {number | null} */
  #refused = null;
  /** The frame that the server was missing, and that is on its way again: each behind it complains. @type {number | null} */
  #missing = null;
  /** @type {Search | null} */
  #search = null;

  /**
   * @param {Outbox} outbox
   * @param {Timers} timers
   * @param {{write: (frame: Frame) => void, ping: () => void, changed: () => void}} handlers `ping`: its answer calls `answered()`; `changed`: the outbox did
   */
  constructor(outbox, timers, { write, ping, changed }) {
    this.#outbox = outbox;
    this.#timers = timers;
    this.#timeouts = new Timeouts(timers);
    this.#write = write;
    this.#ping = ping;
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
    if (!resumed) this.#restart();
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

  /** The line is open for our frames. @param {number} [window] how many may be on their way */
  start(window = WINDOW) {
    this.#window = Math.max(1, Math.min(window, MAX_WINDOW));
    this.#online = true;
    this.#refused = this.#missing = null;
    if (this.#search) this.#search = { ...this.#search, last: this.#outbox.next - 1 };
    this.#pump();
  }

  /** The line is gone. */
  halt() {
    this.#online = false;
    this.#timeouts.cancelAll();
    if (this.#search) this.#search = { ...this.#search, asked: false, suspect: null };
  }

  /** A new session without a past. */
  restart() {
    this.#restart();
    this.#changed();
  }

  /** @param {number} n @returns {Outgoing | undefined} the frame, if it waited */
  accepted(n) {
    const item = this.#outbox.accept(n);
    if (item) this.#pace.accepted();
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

  /**
   * The server does not take frame `n` for a while, nor what was sent behind it.
   * @param {string} code @param {number} seconds @param {number} [n]
   * @returns {boolean} whether that is news: those behind it are refused like it
   */
  pause(code, seconds, n = this.#outbox.first) {
    const onTheWire = n >= this.#outbox.first && n < this.#outbox.first + this.#outbox.onTheWire;
    if (!onTheWire || (this.#refused !== null && n > this.#refused)) return false;
    const until = this.#timers.now() + seconds * 1000;
    this.#pace.refused(code, n, until);
    this.#refused = n;
    this.#outbox.rewind(n);
    this.#timeouts.cancel("resend");
    this.#timeouts.start("pause", seconds * 1000, () => this.#pump());
    return true;
  }

  /**
   * The server expects `n` next.
   * @param {number} n
   * @returns {boolean} whether that can be: what it has accepted it cannot miss
   */
  expected(n) {
    if (n < this.#outbox.first) return false;
    const known = n === this.#refused || n === this.#missing || (this.#search !== null && n === this.#outbox.first);
    if (!Number.isInteger(n) || known || this.#timeouts.runs("pause")) return true;
    this.#missing = n;
    this.#outbox.rewind(n);
    this.#moved();
    return true;
  }

  /** Give up on a frame. @param {number} n @returns {Outgoing | undefined} it, as it was */
  discard(n) {
    const item = this.#outbox.refuse(n);
    if (!item) return undefined;
    this.#pace.renumbered();
    if (this.#refused !== null && n < this.#refused) this.#refused -= 1;
    this.#progress();
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

  // --- what the server cannot read ---------------------------------------------------------------

  /**
   * The server could not read a frame, and cannot say which.
   * @returns {{searching: boolean, found?: Outgoing}} whether one of ours may be it; and if that is clear, it, given up
   */
  unreadable() {
    const search = this.#search;
    if (search && search.suspect !== null) {
      const found = this.#outbox.refuse(search.suspect);
      search.suspect = null;
      search.last -= 1;
      search.fruitful = true;
      this.#pace.renumbered();
      this.#progress();
      return { searching: true, found };
    }
    if (search) return { searching: true };
    if (!this.#outbox.waiting) return { searching: false };
    this.#begin();
    this.#ask(null);
    return { searching: true };
  }

  /** The line was closed over frames that the server could not read. @returns {boolean} whether another is worth while */
  searchAnew() {
    const before = this.#search;
    if (!this.#outbox.items.length || (before?.tried && !before.fruitful)) return false;
    this.#begin();
    return true;
  }

  /** A ping of ours was answered. */
  answered() {
    const search = this.#search;
    if (!search) return;
    // Before it was asked for the first time anything may be on its way.
    if (!search.tried) this.#outbox.rewind();
    search.asked = false;
    search.suspect = null;
    this.#pump();
  }

  #begin() {
    this.#search = { asked: false, suspect: null, last: this.#outbox.next - 1, tried: false, fruitful: false };
  }

  /** @param {number | null} suspect */
  #ask(suspect) {
    const search = /** @type {Search} */ (this.#search);
    search.asked = true;
    search.suspect = suspect;
    this.#ping();
  }

  #searchOn() {
    const search = /** @type {Search} */ (this.#search);
    if (search.asked || this.#outbox.onTheWire) return;
    for (const frame of this.#outbox.take(1)) {
      search.tried = true;
      this.#write(frame);
      this.#ask(frame.n);
    }
  }

  // --- moving on ---------------------------------------------------------------------------------

  /** Something left the outbox: whoever waits may move up. */
  #progress() {
    const { first } = this.#outbox;
    this.#timeouts.cancel("resend");
    if (this.#refused !== null && first > this.#refused) this.#refused = null;
    if (this.#missing !== null && first > this.#missing) this.#missing = null;
    if (this.#search && first > this.#search.last) this.#search = null;
    this.#moved();
  }

  #moved() {
    this.#changed();
    this.#pump();
  }

  #pump() {
    if (!this.#online || this.#timeouts.runs("pause")) return;
    if (this.#search) this.#searchOn();
    else this.#send();
    if (!this.#outbox.waiting || this.#timeouts.runs("resend")) return;
    this.#timeouts.start("resend", RESEND_AFTER, () => this.#resend());
  }

  #send() {
    const now = this.#timers.now();
    const { onTheWire } = this.#outbox;
    const room = Math.min(this.#window - onTheWire, this.#pace.room(now));
    const frames = this.#outbox.take(onTheWire + room, this.#refused ?? Infinity);
    for (const frame of frames) this.#write(frame);
    this.#pace.sent(frames.length, now);
    if (!this.#outbox.more || this.#timeouts.runs("pace")) return;
    const wait = this.#pace.wait(now);
    if (wait) this.#timeouts.start("pace", wait, () => this.#pump());
  }

  #resend() {
    this.#missing = null;
    this.#outbox.rewind();
    this.#pump();
  }

  #restart() {
    this.#outbox.restart();
    this.#pace.renumbered();
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
