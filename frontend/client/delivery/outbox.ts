/** What this client has sent, by its numbers: `clientSeq`, on the wire `n`. Pure bookkeeping: no socket, no timer, no DOM. */
import { type Outgoing, asEntry } from "../protocol.ts";

export type Outbox = ReturnType<typeof createOutbox>;

/**
 * What this client sent, until the server has stored it.
 *
 * Frames are sent in order, at most `window` ahead of the last accepted one, and always from some
 * point to the end ("go back n"): the server takes them in order anyway.
 * @param items in the order of `clientSeq`; without holes beyond what is accepted
 * @param next the number of the next frame
 */
export function createOutbox(items: Outgoing[] = [], next: number = 1) {
  const end = (of: readonly Outgoing[] = items) => of.at(-1)?.n ?? 0;
  const renumber = (some: Outgoing[], from: number) => some.forEach((item, offset) => (item.n = from + offset));
  const remove = (clientSeq: number) => {
    const index = items.findIndex((item) => item.n === clientSeq);
    return index < 0 ? undefined : items.splice(index, 1)[0];
  };

  items = [...items];
  /** The highest `clientSeq` that the server is known to have stored: a guess, good enough to go on counting, until it says so. */
  let accepted = (end() < next - 1 ? next : (items[0]?.n ?? next)) - 1;
  /** The highest `clientSeq` written to the current line. */
  let cursor = accepted;
  if (items.some(({ n: clientSeq }, index) => index && clientSeq <= items[index - 1]!.n)) renumber(items, accepted + 1);

  return {
    /** Everything that is not confirmed yet, oldest first. */
    get items(): readonly Outgoing[] {
      return items;
    },

    /** The number that the next frame will get. */
    get next() {
      return Math.max(accepted, end()) + 1;
    },

    /** The number of the first frame that is not accepted. */
    get first() {
      return accepted + 1;
    },

    /** How many frames were written to the line and are not accepted. */
    get onTheWire() {
      return cursor - accepted;
    },

    /** Whether a frame is still to be written. */
    get more() {
      return end() > cursor;
    },

    push(frame: Omit<Outgoing, "n">): Outgoing {
      const item = { ...frame, n: this.next };
      items.push(item);
      return item;
    },

    /** The frames to write now; they count as written. @param last the highest number that may go */
    take(window: number, last: number = Infinity) {
      const limit = Math.min(accepted + window, last);
      if (limit <= cursor) return [];
      const from = items.findIndex((item) => item.n > cursor);
      const frames = from < 0 ? [] : items.slice(from, from + limit - cursor);
      cursor = end(frames) || cursor;
      return frames;
    },

    /** Write again from `clientSeq`, or from the first that is not accepted. */
    rewind(clientSeq: number = 0) {
      cursor = Math.max(accepted, clientSeq - 1);
    },

    /** `clientSeq` is stored. @returns the frame, if it was waiting */
    accept(clientSeq: number): Outgoing | undefined {
      accepted = Math.max(accepted, clientSeq);
      cursor = Math.max(cursor, accepted);
      return remove(clientSeq);
    },

    /**
     * The log holds `entry` as our frame `clientSeq`.
     *
     * It may be somebody else's: a duplicated tab, or another device, goes on counting from the same
     * number. What is still ours to send is then numbered anew.
     */
    confirm(clientSeq: number, entry: { name: string; data: any }) {
      const item = this.accept(clientSeq);
      if (item && !isOurs(item, entry)) this.push(item);
    },

    /**
     * The server has stored everything up to `received`, of which what is beyond `yours` came by HTTP. What we
     * have beyond `yours` is numbered on behind `received`; what we have up to there is kept until the replay has shown it.
     */
    resume(received: number, yours: number = received) {
      accepted = cursor = received;
      renumber(items.filter((item) => item.n > yours), received + 1);
    },

    /** A new session: what is left is numbered from 1, and takes no place of what was said in the old one. */
    restart() {
      this.settle();
      for (const { name, data } of items) if (name === "message") delete data?.replaces;
      accepted = cursor = 0;
      renumber(items, 1);
    },

    /**
     * What was left from before this page is ours after all, and goes before what was sent since.
     * @param next the number of the next frame, when it was left
     */
    adopt(left: readonly Outgoing[], next: number) {
      renumber(items, Math.max(next, end(left) + 1));
      items = [...left, ...items];
    },

    /** Another page has gone on with what waits here. @param left what it has left of it, and what was sent there */
    replace(left: Outgoing[]) {
      items = left;
    },

    /** Somebody else wrote these. A `restart()` follows, which numbers the others. @param foreign all, if left out */
    forget(foreign: readonly Outgoing[] = items) {
      const gone = new Set(foreign);
      items = items.filter((item) => !gone.has(item));
    },

    /** The replay is complete: what the server said it had stored need not be kept. */
    settle() {
      items = items.filter((item) => item.n > accepted);
    },

    /** `clientSeq` will never be accepted; those behind it move up. */
    refuse(clientSeq: number) {
      const item = clientSeq > accepted ? remove(clientSeq) : undefined;
      if (item) {
        renumber(items.filter((other) => other.n > clientSeq), clientSeq);
        cursor = Math.min(cursor, clientSeq - 1);
      }
      return item;
    },

    /** Among the frames on the line, the largest: the one to blame for "too large". */
    largestWritten() {
      return this.oversized(0)
        .filter(({ n: clientSeq }) => clientSeq <= cursor)
        .sort((one, other) => byteLength(other) - byteLength(one))[0];
    },

    /** The frames that no line of `limit` bytes a frame can carry. */
    oversized(limit: number) {
      return items.filter((item) => item.n > accepted && byteLength(item) > limit);
    },
  };
}

/** Whether an entry of the log is what we have sent: the log keeps data as it came, down to the order of its keys. */
function isOurs(item: Outgoing, { name, data }: { name: string; data: any }) {
  const ours = asEntry(item, 0);
  const text = (value: any) => JSON.stringify(value ?? null);
  // Of an action the log has what was offered, whatever we made of it.
  return ours.name === name && (name === "action" ? ours.data?.id === data?.id : text(ours.data) === text(data));
}

const encoder = new TextEncoder();

/** The size of a frame on the line, in bytes of UTF-8. */
export function byteLength(frame: object) {
  return encoder.encode(JSON.stringify(frame)).length;
}
