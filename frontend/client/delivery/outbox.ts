/** What this client has sent, by its numbers. Pure bookkeeping: no socket, no timer, no DOM. */
import type { Outgoing } from "../protocol.ts";

/**
 * What this client sent, until the server has stored it.
 *
 * Frames are sent in order, at most `window` ahead of the last accepted one, and always from some
 * point to the end ("go back n"): the server takes them in order anyway.
 */
export class Outbox {
  /** In the order of `n`; without holes beyond `#accepted` */
  #items: Outgoing[];
  /** The highest `n` that the server is known to have stored. */
  #accepted;
  /** The highest `n` written to the current line. */
  #cursor;

  /** @param next the number of the next frame */
  constructor(items: Outgoing[] = [], next: number = 1) {
    this.#items = [...items];
    const last = items.at(-1)?.n ?? 0;
    // A guess, good enough to go on counting from `next`, until the server says what it has stored.
    this.#accepted = last < next - 1 ? next - 1 : (items[0]?.n ?? next) - 1;
    this.#cursor = this.#accepted;
    const ascending = items.every(({ n }, index) => index === 0 || n > (items[index - 1]?.n ?? 0));
    if (!ascending) this.#renumber(items, this.#accepted + 1);
  }

  /** Everything that is not confirmed yet, oldest first. */
  get items(): readonly Outgoing[] {
    return this.#items;
  }

  /** The number that the next frame will get. */
  get next() {
    return Math.max(this.#accepted, this.#items.at(-1)?.n ?? 0) + 1;
  }

  /** Whether something was written to the line and is not accepted. */
  get waiting() {
    const first = this.#items.find((item) => item.n > this.#accepted);
    return first !== undefined && first.n <= this.#cursor;
  }

  /** The number of the first frame that is not accepted. */
  get first() {
    return this.#accepted + 1;
  }

  /** How many frames were written to the line and are not accepted. */
  get onTheWire() {
    return this.#cursor - this.#accepted;
  }

  /** Whether a frame is still to be written. */
  get more() {
    return (this.#items.at(-1)?.n ?? 0) > this.#cursor;
  }

  push(frame: Omit<Outgoing, "n">): Outgoing {
    const item = { ...frame, n: this.next };
    this.#items.push(item);
    return item;
  }

  /** The frames to write now; they count as written. @param last the highest number that may go */
  take(window: number, last: number = Infinity) {
    const limit = Math.min(this.#accepted + window, last);
    if (limit <= this.#cursor) return [];
    const from = this.#items.findIndex((item) => item.n > this.#cursor);
    const frames = from < 0 ? [] : this.#items.slice(from, from + limit - this.#cursor);
    this.#cursor = frames.at(-1)?.n ?? this.#cursor;
    return frames;
  }

  /** Write again from `n`, or from the first that is not accepted. */
  rewind(n: number = 0) {
    this.#cursor = Math.max(this.#accepted, n - 1);
  }

  /** `n` is stored. @returns the frame, if it was waiting */
  accept(n: number): Outgoing | undefined {
    const item = this.#remove(n);
    this.#accepted = Math.max(this.#accepted, n);
    this.#cursor = Math.max(this.#cursor, this.#accepted);
    return item;
  }

  /**
   * The log holds `entry` as our frame `n`.
   *
   * It may be somebody else's: a duplicated tab, or another device, goes on counting from the same
   * number. What is still ours to send is then numbered anew.
   */
  confirm(n: number, entry: { name: string; data: any }) {
    const item = this.accept(n);
    if (item && !isOurs(item, entry)) this.push(item);
  }

  /**
   * The server has stored everything up to `received`. What lies beyond is numbered on from there;
   * what does not is kept until the replay has shown it.
   */
  resume(received: number) {
    this.#accepted = received;
    this.#cursor = received;
    this.#renumber(this.#items.filter((item) => item.n > received), received + 1);
  }

  /** A new session: what is left is numbered from 1. */
  restart() {
    this.settle();
    this.#accepted = 0;
    this.#cursor = 0;
    this.#renumber(this.#items, 1);
  }

  /**
   * What was left from before this page is ours after all, and goes before what was sent since.
   * @param next the number of the next frame, when it was left
   */
  adopt(items: readonly Outgoing[], next: number) {
    const last = items.at(-1)?.n ?? 0;
    this.#renumber(this.#items, Math.max(next, last + 1));
    this.#items = [...items, ...this.#items];
  }

  /** Somebody else wrote these. @param items all, if left out */
  forget(items: readonly Outgoing[] = this.#items) {
    const foreign = new Set(items);
    this.#items = this.#items.filter((item) => !foreign.has(item));
    this.#renumber(this.#items, this.#accepted + 1);
    this.#cursor = this.#accepted;
  }

  /** The replay is complete: what the server said it had stored need not be kept. */
  settle() {
    this.#items = this.#items.filter((item) => item.n > this.#accepted);
  }

  /** `n` will never be accepted; those behind it move up. */
  refuse(n: number) {
    if (n <= this.#accepted) return undefined;
    const item = this.#remove(n);
    if (!item) return undefined;
    this.#renumber(this.#items.filter((other) => other.n > n), n);
    this.#cursor = Math.min(this.#cursor, n - 1);
    return item;
  }

  /** Among the frames on the line, the largest: the one to blame for "too large". */
  largestWritten() {
    return this.#items
      .filter((item) => item.n > this.#accepted && item.n <= this.#cursor)
      .reduce((largest: Outgoing | undefined, item) =>
        largest && byteLength(largest) >= byteLength(item) ? largest : item, undefined);
  }

  /** The frames that no line of `limit` bytes a frame can carry. */
  oversized(limit: number) {
    return this.#items.filter((item) => item.n > this.#accepted && byteLength(item) > limit);
  }

  #remove(n: number) {
    const index = this.#items.findIndex((item) => item.n === n);
    return index < 0 ? undefined : this.#items.splice(index, 1)[0];
  }

  #renumber(items: Outgoing[], from: number) {
    items.forEach((item, offset) => (item.n = from + offset));
  }
}

/** Whether an entry of the log is what we have sent. Two that say the same are one. */
function isOurs(item: Outgoing, { name, data }: { name: string; data: any }) {
  if (item.type === "answer") return name === "answer" && isSame(item, { call: data?.call, data: data?.data });
  // Of an action the log has what was offered, whatever we made of it.
  return name === item.name && (name === "action" ? item.data?.id === data?.id : isSame(item, { data }));
}

/** The log keeps data as it came, down to the order of its keys. */
function isSame({ call, data }: Outgoing, entry: { call?: string; data: any }) {
  return call === entry.call && JSON.stringify(data ?? null) === JSON.stringify(entry.data ?? null);
}

const encoder = new TextEncoder();

/** The size of a frame on the line, in bytes of UTF-8. */
export function byteLength(frame: object) {
  return encoder.encode(JSON.stringify(frame)).length;
}
