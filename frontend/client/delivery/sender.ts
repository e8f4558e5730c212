/** When what goes out goes out: repeats and pauses. */
import type { Timeouts } from "../clock.ts";
import { MAX_WINDOW, RESEND_AFTER, WINDOW } from "../limits.ts";
import type { Outgoing, SentFrame } from "../protocol.ts";
import type { Outbox } from "./outbox.ts";
import { createPace } from "./pace.ts";

export type Sender = ReturnType<typeof createSender>;

/**
 * Bring the outbox across, whatever the line and the server do.
 * @param timeouts of the connection
 * @param ping `answered` is called when its answer is here, unless the line is gone
 * @param changed the outbox did
 */
export function createSender(outbox: Outbox, timeouts: Timeouts, write: (frame: SentFrame) => void, ping: (answered: () => void) => void, changed: () => void) {
  const pace = createPace();
  let online = false;
  let size = MAX_WINDOW;
  /** The frame that was refused for now, or 0: until it is accepted none goes behind it. */
  let refused = 0;
  /** The frame that the server was missing, or 0, and that is on its way again: each behind it complains. */
  let missing = 0;
  /** Whether a ping behind what is not accepted is not answered. */
  let asked = false;
  /** Whether what is on its way has numbers of before a frame was given up: what is said of them is not about ours. */
  let stale = false;

  // --- moving on ---------------------------------------------------------------------------------

  const pump = () => {
    if (!online || stale || timeouts.runs("pause")) return;
    send();
    if (outbox.onTheWire) timeouts.ensure("resend", RESEND_AFTER, ask);
  };

  const send = () => {
    const now = timeouts.now();
    const { onTheWire } = outbox;
    const frames = outbox.take(onTheWire + Math.min(size - onTheWire, pace.room(now)), refused || Infinity);
    frames.forEach(write);
    pace.sent(frames.length, now);
    const wait = pace.wait(now);
    if (wait && outbox.more) timeouts.ensure("pace", wait, pump);
  };

  /** Nothing was accepted for long. It may still be on its way, if that is slow: the answer to a ping comes behind it. */
  const ask = () => {
    if (asked) return;
    const { first } = outbox;
    asked = true;
    ping(() => {
      asked = false;
      if (first === outbox.first) {
        missing = 0;
        outbox.rewind();
      }
      pump();
    });
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
    moved();
  };

  /** Give up on a frame. @returns it, as it was; `null`: it is another that had this number */
  const discard = (clientSeq: number): Outgoing | undefined | null => {
    if (stale) return null;
    const behind = outbox.first + outbox.onTheWire - 1 > clientSeq;
    const item = outbox.refuse(clientSeq);
    if (item) {
      pace.renumbered();
      if (clientSeq < refused) refused -= 1;
      stale = behind && online;
      if (stale) {
        ping(() => {
          stale = false;
          pump();
        });
      }
      progress();
    }
    return item;
  };

  return {
    discard,

    queue(frame: Omit<Outgoing, "n">) {
      const item = outbox.push(frame);
      moved();
      return item;
    },

    /** The server was met: it has stored everything up to `received`, of which ours ends at `yours`. */
    welcome(received: number, yours?: number) {
      outbox.resume(received, yours);
      changed();
    },

    /** The line is open for our frames. @param window how many may be on their way */
    start(window: number = WINDOW) {
      size = Math.max(1, Math.min(window, MAX_WINDOW));
      online = true;
      refused = missing = 0;
      pump();
    },

    /** The line is gone, and its timeouts. */
    halt() {
      online = stale = asked = false;
    },

    /** A new session without a past. */
    restart() {
      outbox.restart();
      pace.renumbered();
      changed();
    },

    /** @returns the frame, if it waited */
    accepted(clientSeq: number): Outgoing | undefined {
      const item = outbox.accept(clientSeq);
      if (item) pace.accepted();
      progress();
      return item;
    },

    /** The log holds `entry` as our frame `clientSeq`. */
    confirmed(clientSeq: number, entry: { name: string; data: any }) {
      if (!outbox.items.length) return void outbox.accept(clientSeq);
      outbox.confirm(clientSeq, entry);
      progress();
    },

    /** The replay is complete. */
    settle() {
      if (!outbox.items.length) return;
      outbox.settle();
      progress();
    },

    /**
     * The server does not take frame `clientSeq` for a while, nor what was sent behind it.
     * @returns whether that is news: those behind it are refused like it
     */
    pause(code: string, seconds: number, clientSeq: number = outbox.first): boolean {
      const { first } = outbox;
      if (clientSeq < first || clientSeq >= first + outbox.onTheWire || (refused && clientSeq > refused)) return false;
      const delay = seconds * 1000;
      pace.refused(code, clientSeq, timeouts.now() + delay);
      refused = clientSeq;
      outbox.rewind(clientSeq);
      timeouts.cancel("resend");
      timeouts.start("pause", delay, pump);
      return true;
    },

    /** The server expects `clientSeq` next. @returns whether that can be: what it has accepted it cannot miss */
    expected(clientSeq: number): boolean {
      const { first } = outbox;
      if (clientSeq < first) return false;
      if (clientSeq === refused || clientSeq === missing || timeouts.runs("pause")) return true;
      missing = clientSeq;
      outbox.rewind(clientSeq);
      moved();
      return true;
    },
  };
}
