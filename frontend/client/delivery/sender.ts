/** When what goes out goes out: repeats and pauses. */
import type { Timeouts } from "../clock.ts";
import { MAX_WINDOW, RESEND_AFTER, WINDOW } from "../limits.ts";
import type { Outgoing, SentFrame } from "../protocol.ts";
import type { Outbox } from "./outbox.ts";
import { createPace } from "./pace.ts";

/**
 * A search for the frame that the server cannot read: it cannot say which. Each frame goes alone,
 * and a ping behind it: what the server says before it answers that is about this one.
 */
export interface Search {
  /** While a ping is not answered: the number of the frame before it, or 0 if it may be any */
  suspect?: number;
  /** The number of the last frame that it may be */
  last: number;
  /** Whether a frame has gone alone */
  tried?: boolean;
  /** Whether one was found */
  fruitful?: boolean;
}

export type Sender = ReturnType<typeof createSender>;

/**
 * Bring the outbox across, whatever the line and the server do.
 * @param timeouts of the connection
 * @param ping its answer calls `answered()`
 * @param changed the outbox did
 */
export function createSender(outbox: Outbox, timeouts: Timeouts, write: (frame: SentFrame) => void, ping: () => void, changed: () => void) {
  const pace = createPace();
  let online = false;
  let size = MAX_WINDOW;
  /** The frame that was refused for now, or 0: until it is accepted none goes behind it. */
  let refused = 0;
  /** The frame that the server was missing, or 0, and that is on its way again: each behind it complains. */
  let missing = 0;
  let search: Search | null = null;
  /** While a ping behind what is not accepted is not answered: the first of these. */
  let asked: number | null = null;

  // --- moving on ---------------------------------------------------------------------------------

  const pump = () => {
    if (!online || timeouts.runs("pause")) return;
    if (search) searchOn(search);
    else send();
    if (outbox.onTheWire && !timeouts.runs("resend")) timeouts.start("resend", RESEND_AFTER, ask);
  };

  const send = () => {
    const now = timeouts.now();
    const { onTheWire } = outbox;
    const frames = outbox.take(onTheWire + Math.min(size - onTheWire, pace.room(now)), refused || Infinity);
    frames.forEach(write);
    pace.sent(frames.length, now);
    const wait = pace.wait(now);
    if (wait && outbox.more && !timeouts.runs("pace")) timeouts.start("pace", wait, pump);
  };

  const rewind = () => {
    missing = 0;
    outbox.rewind();
    pump();
  };

  /** Nothing was accepted for long. It may still be on its way, if that is slow: the answer to a ping comes behind it. */
  const ask = () => {
    if (search) return rewind();
    if (asked !== null) return;
    asked = outbox.first;
    ping();
  };

  const moved = () => {
    changed();
    pump();
  };

  /** Something left the outbox: whoever waits may move up. */
  const progress = () => {
    const { first } = outbox;
    timeouts.cancel("resend");
    if (first > refused) refused = 0;
    if (first > missing) missing = 0;
    if (search && first > search.last) search = null;
    moved();
  };

  const renumber = () => {
    outbox.restart();
    pace.renumbered();
  };

  /** Give up on a frame. @returns it, as it was */
  const discard = (n: number): Outgoing | undefined => {
    const item = outbox.refuse(n);
    if (item) {
      pace.renumbered();
      if (n < refused) refused -= 1;
      progress();
    }
    return item;
  };

  // --- what the server cannot read ---------------------------------------------------------------

  const begin = (): Search => (search = { last: outbox.next - 1 });

  const suspect = (search: Search, n: number) => {
    search.suspect = n;
    ping();
  };

  const searchOn = (search: Search) => {
    if (search.suspect !== undefined || outbox.onTheWire) return;
    for (const frame of outbox.take(1)) {
      search.tried = true;
      write(frame);
      suspect(search, frame.n);
    }
  };

  return {
    discard,

    queue(frame: Omit<Outgoing, "n">) {
      const item = outbox.push(frame);
      moved();
      return item;
    },

    /** The server was met: it has stored everything up to `received`. */
    welcome(received: number, resumed: boolean) {
      if (!resumed) renumber();
      outbox.resume(received);
      changed();
    },

    /** The line is open for our frames. @param window how many may be on their way */
    start(window: number = WINDOW) {
      size = Math.max(1, Math.min(window, MAX_WINDOW));
      online = true;
      refused = missing = 0;
      asked = null;
      if (search) search.last = outbox.next - 1;
      pump();
    },

    /** The line is gone, and its timeouts. */
    halt() {
      online = false;
      if (search) search.suspect = undefined;
    },

    /** A new session without a past. */
    restart() {
      renumber();
      changed();
    },

    /** @returns the frame, if it waited */
    accepted(n: number): Outgoing | undefined {
      const item = outbox.accept(n);
      if (item) pace.accepted();
      progress();
      return item;
    },

    /** The log holds `entry` as our frame `n`. */
    confirmed(n: number, entry: { name: string; data: any }) {
      if (!outbox.items.length) return void outbox.accept(n);
      outbox.confirm(n, entry);
      progress();
    },

    /** The replay is complete. */
    settle() {
      if (!outbox.items.length) return;
      outbox.settle();
      progress();
    },

    /**
     * The server does not take frame `n` for a while, nor what was sent behind it.
     * @returns whether that is news: those behind it are refused like it
     */
    pause(code: string, seconds: number, n: number = outbox.first): boolean {
      const { first } = outbox;
      if (n < first || n >= first + outbox.onTheWire || (refused && n > refused)) return false;
      const delay = seconds * 1000;
      pace.refused(code, n, timeouts.now() + delay);
      refused = n;
      outbox.rewind(n);
      timeouts.cancel("resend");
      timeouts.start("pause", delay, pump);
      return true;
    },

    /** The server expects `n` next. @returns whether that can be: what it has accepted it cannot miss */
    expected(n: number): boolean {
      const { first } = outbox;
      if (n < first) return false;
      const known = n === refused || n === missing || (search && n === first);
      if (known || timeouts.runs("pause")) return true;
      missing = n;
      outbox.rewind(n);
      moved();
      return true;
    },

    /**
     * The server could not read a frame, and cannot say which.
     * @returns it, given up; `undefined` while it is searched for; `null` if it is none of ours
     */
    unreadable(): Outgoing | undefined | null {
      if (!search) {
        if (!outbox.onTheWire) return null;
        suspect(begin(), 0);
      } else if (search.suspect) {
        const n = search.suspect;
        search.suspect = 0;
        search.last -= 1;
        search.fruitful = true;
        return discard(n);
      }
      return undefined;
    },

    /** The line was closed over frames that the server could not read. @returns whether another is worth while */
    searchAnew(): boolean {
      if (!outbox.items.length || (search?.tried && !search.fruitful)) return false;
      begin();
      return true;
    },

    /** A ping of ours was answered. */
    answered() {
      if (asked !== null) {
        const stuck = asked === outbox.first;
        asked = null;
        return search || !stuck ? pump() : rewind();
      }
      if (!search) return;
      // Before it was asked for the first time anything may be on its way.
      if (!search.tried) outbox.rewind();
      search.suspect = undefined;
      pump();
    },
  };
}
