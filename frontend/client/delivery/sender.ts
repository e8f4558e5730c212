/** When what goes out goes out: repeats and pauses. */
import { Timeouts, type Timers } from "../clock.ts";
import type { Outgoing, SentFrame } from "../protocol.ts";
import { Outbox } from "./outbox.ts";
import { Pace } from "./pace.ts";

/** Milliseconds without `accepted` before everything unaccepted is sent again. */
const RESEND_AFTER = 5_000;
/** How many frames may be on their way, if the server does not say: what it lets wait for its turn. */
const WINDOW = 100;
/** How many are, at most: behind one that is refused, all are sent again. */
const MAX_WINDOW = 32;

/**
 * A search for the frame that the server cannot read: it cannot say which. Each frame goes alone,
 * and a ping behind it: what the server says before it answers that is about this one.
 */
export interface Search {
  /** Whether a ping is not answered yet */
  asked: boolean;
  /** The number of the frame before that ping */
  suspect: number | null;
  /** The number of the last frame that it may be */
  last: number;
  /** Whether a frame has gone alone */
  tried: boolean;
  /** Whether one was found */
  fruitful: boolean;
}

/** Brings the outbox across, whatever the line and the server do. */
export class Sender {
  #outbox;
  #timers;
  #timeouts;
  #write;
  #ping;
  #changed;
  #backlog;
  #pace = new Pace();
  #online = false;
  #window = MAX_WINDOW;
  /** The frame that was refused for now: until it is accepted none goes behind it. */
  #refused: number | null = null;
  /** The frame that the server was missing, and that is on its way again: each behind it complains. */
  #missing: number | null = null;
  #search: Search | null = null;

  /** @param handlers `ping`: its answer calls `answered()`; `changed`: the outbox did */
  constructor(outbox: Outbox, timers: Timers, { write, ping, changed, backlog }: { write: (frame: SentFrame) => void; ping: () => void; changed: () => void; backlog: () => number }) {
    this.#outbox = outbox;
    this.#timers = timers;
    this.#timeouts = new Timeouts(timers);
    this.#write = write;
    this.#ping = ping;
    this.#changed = changed;
    this.#backlog = backlog;
  }

  get items() {
    return this.#outbox.items;
  }

  get next() {
    return this.#outbox.next;
  }

  queue(frame: Omit<Outgoing, "n">) {
    const item = this.#outbox.push(frame);
    this.#moved();
    return item;
  }

  /** The server was met: it has stored everything up to `received`. */
  welcome(received: number, resumed: boolean) {
    if (!resumed) this.#restart();
    this.#outbox.resume(received);
    this.#changed();
  }

  /** What was left from before this page is ours after all; to be followed by `welcome()`. */
  adopt(items: readonly Outgoing[], next: number) {
    this.#outbox.adopt(items, next);
  }

  /** Somebody else wrote these; to be followed by `welcome()`. @param items all, if left out */
  forget(items?: readonly Outgoing[]) {
    this.#outbox.forget(items);
  }

  /** The line is open for our frames. @param window how many may be on their way */
  start(window: number = WINDOW) {
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

  /** @returns the frame, if it waited */
  accepted(n: number): Outgoing | undefined {
    const item = this.#outbox.accept(n);
    if (item) this.#pace.accepted();
    this.#progress();
    return item;
  }

  /** The log holds `entry` as our frame `n`. */
  confirmed(n: number, entry: { name: string; data: any }) {
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
   * @returns whether that is news: those behind it are refused like it
   */
  pause(code: string, seconds: number, n: number = this.#outbox.first): boolean {
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

  /** The server expects `n` next. @returns whether that can be: what it has accepted it cannot miss */
  expected(n: number): boolean {
    if (n < this.#outbox.first) return false;
    const known = n === this.#refused || n === this.#missing || (this.#search !== null && n === this.#outbox.first);
    if (!Number.isInteger(n) || known || this.#timeouts.runs("pause")) return true;
    this.#missing = n;
    this.#outbox.rewind(n);
    this.#moved();
    return true;
  }

  /** Give up on a frame. @returns it, as it was */
  discard(n: number): Outgoing | undefined {
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

  /** The frames beyond the server's limit. @param limit in bytes */
  oversized(limit: number) {
    return this.#outbox.oversized(limit);
  }

  // --- what the server cannot read ---------------------------------------------------------------

  /**
   * The server could not read a frame, and cannot say which.
   * @returns whether one of ours may be it; and if that is clear, it, given up
   */
  unreadable(): { searching: boolean; found?: Outgoing } {
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

  /** The line was closed over frames that the server could not read. @returns whether another is worth while */
  searchAnew(): boolean {
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

  #ask(suspect: number | null) {
    const search = this.#search as Search;
    search.asked = true;
    search.suspect = suspect;
    this.#ping();
  }

  #searchOn() {
    const search = this.#search as Search;
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
    // What has not left the browser yet cannot have got lost.
    if (!this.#backlog()) {
      this.#missing = null;
      this.#outbox.rewind();
    }
    this.#pump();
  }

  #restart() {
    this.#outbox.restart();
    this.#pace.renumbered();
  }
}
