/**
 * Numbers and positions: what was sent and not yet accepted, what has been received, how far
 * each stream is. Pure bookkeeping: no socket, no timer, no DOM.
 */

/**
 * An `event` or `answer` frame as it goes over the line.
 * @typedef {{type: "event" | "answer", n: number, name?: string, call?: string, data: any}} Outgoing
 */

/**
 * One entry of the session's log.
 * @typedef {{seq: number, name: string, data: any, turn?: number, n?: number}} Entry
 */

/**
 * What this client sent, until the server has stored it.
 *
 * Frames are sent in order, at most `window` ahead of the last accepted one, and always from some
 * point to the end ("go back n"): the server takes them in order anyway.
 */
export class Outbox {
  /** @type {Outgoing[]} in the order of `n`; without holes beyond `#accepted` */
  #items;
  /** The highest `n` that the server is known to have stored. */
  #accepted;
  /** The highest `n` written to the current line. */
  #cursor;

  /** @param {Outgoing[]} [items] @param {number} [next] the number of the next frame */
  constructor(items = [], next = 1) {
    this.#items = [...items];
    const last = items.at(-1)?.n ?? 0;
    // A guess, good enough to go on counting from `next`, until the server says what it has stored.
    this.#accepted = last < next - 1 ? next - 1 : (items[0]?.n ?? next) - 1;
    this.#cursor = this.#accepted;
    const ascending = items.every(({ n }, index) => index === 0 || n > items[index - 1].n);
    if (!ascending) this.#renumber(items, this.#accepted + 1);
  }

  /** Everything that is not confirmed yet, oldest first. @returns {readonly Outgoing[]} */
  get items() {
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

  /** @param {Omit<Outgoing, "n">} frame @returns {Outgoing} */
  push(frame) {
    const item = { ...frame, n: this.next };
    this.#items.push(item);
    return item;
  }

  /** The frames to write now; they count as written. @param {number} window @param {number} [last] the highest number that may go */
  take(window, last = Infinity) {
    const limit = Math.min(this.#accepted + window, last);
    if (limit <= this.#cursor) return [];
    const from = this.#items.findIndex((item) => item.n > this.#cursor);
    const frames = [];
    for (let index = from; index >= 0 && index < this.#items.length && this.#items[index].n <= limit; index++) frames.push(this.#items[index]);
    this.#cursor = frames.at(-1)?.n ?? this.#cursor;
    return frames;
  }

  /** Write again from `n`, or from the first that is not accepted. @param {number} [n] */
  rewind(n = 0) {
    this.#cursor = Math.max(this.#accepted, n - 1);
  }

  /** `n` is stored. @param {number} n @returns {Outgoing | undefined} the frame, if it was waiting */
  accept(n) {
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
   * @param {number} n @param {{name: string, data: any}} entry
   */
  confirm(n, entry) {
    const item = this.accept(n);
    if (item && !isOurs(item, entry)) this.push(item);
  }

  /**
   * The server has stored everything up to `received`. What lies beyond is numbered on from there;
   * what does not is kept until the replay has shown it.
   * @param {number} received
   */
  resume(received) {
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
   * @param {readonly Outgoing[]} items @param {number} next the number of the next frame, when it was left
   */
  adopt(items, next) {
    const last = items.at(-1)?.n ?? 0;
    this.#renumber(this.#items, Math.max(next, last + 1));
    this.#items = [...items, ...this.#items];
  }

  /** Somebody else wrote these. @param {readonly Outgoing[]} [items] all, if left out */
  forget(items = this.#items) {
    const foreign = new Set(items);
    this.#items = this.#items.filter((item) => !foreign.has(item));
    this.#renumber(this.#items, this.#accepted + 1);
    this.#cursor = this.#accepted;
  }

  /** The replay is complete: what the server said it had stored need not be kept. */
  settle() {
    this.#items = this.#items.filter((item) => item.n > this.#accepted);
  }

  /** `n` will never be accepted; those behind it move up. @param {number} n */
  refuse(n) {
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
      .reduce((/** @type {Outgoing | undefined} */ largest, item) =>
        largest && byteLength(largest) >= byteLength(item) ? largest : item, undefined);
  }

  /** The frames that no line of `limit` bytes a frame can carry. @param {number} limit */
  oversized(limit) {
    return this.#items.filter((item) => item.n > this.#accepted && byteLength(item) > limit);
  }

  /** @param {number} n */
  #remove(n) {
    const index = this.#items.findIndex((item) => item.n === n);
    return index < 0 ? undefined : this.#items.splice(index, 1)[0];
  }

  /** @param {Outgoing[]} items @param {number} from */
  #renumber(items, from) {
    items.forEach((item, offset) => (item.n = from + offset));
  }
}

/**
 * Whether an entry of the log is what we have sent. Two that say the same are one.
 * @param {Outgoing} item @param {{name: string, data: any}} entry
 */
function isOurs(item, { name, data }) {
  if (item.type === "answer") return name === "answer" && isSame(item, { call: data?.call, data: data?.data });
  // Of an action the log has what was offered, whatever we made of it.
  return name === item.name && (name === "action" ? item.data?.id === data?.id : isSame(item, { data }));
}

/** The log keeps data as it came, down to the order of its keys. @param {Outgoing} item @param {{call?: string, data: any}} entry */
function isSame({ call, data }, entry) {
  return call === entry.call && JSON.stringify(data ?? null) === JSON.stringify(entry.data ?? null);
}

const encoder = new TextEncoder();

/** The size of a frame on the line, in bytes of UTF-8. @param {object} frame */
export function byteLength(frame) {
  return encoder.encode(JSON.stringify(frame)).length;
}

/** How much of the session's log has been applied. */
export class Inbox {
  /** The highest `seq` up to which everything is here. */
  received = 0;
  /** @type {Map<number, Entry>} own entries whose `accepted` came before their predecessors */
  #parked = new Map();

  /** Where an entry belongs: to be applied now, known already, or behind a hole. @param {number} seq */
  place(seq) {
    if (seq <= this.received) return "old";
    return seq === this.received + 1 ? "next" : "hole";
  }

  /** @param {number} seq */
  has(seq) {
    return seq <= this.received || this.#parked.has(seq);
  }

  /** Keep an entry until those before it are here. @param {Entry} entry */
  park(entry) {
    this.#parked.set(entry.seq, entry);
  }

  /** The parked entry whose turn has come. */
  unpark() {
    const entry = this.#parked.get(this.received + 1);
    this.#parked.delete(this.received + 1);
    return entry;
  }

  /** A new line: what was parked comes again in the replay. */
  resume() {
    this.#parked.clear();
  }

  /** Start again behind `seq`. @param {number} seq */
  restart(seq) {
    this.received = seq;
    this.#parked.clear();
  }
}

/** The messages and steps that are being streamed, and the piece that each waits for. */
export class Streams {
  /** @type {Map<string, number>} */
  #expected = new Map();

  /** Follow what an entry says about a stream. @param {Entry} entry */
  follow({ name, data }) {
    if (data?.n != null) return; // a change of what a person wrote, which is no stream
    if (name === "message_remove" || name === "step_remove") this.#expected.delete(data?.id);
    const isStep = name === "step" || name === "step_update";
    if (name !== "message" && name !== "message_update" && !isStep) return;
    if (!data?.streaming) this.#expected.delete(data?.id);
    // A step that goes on has said in its change what came before it.
    else if (isStep || !this.#expected.has(data.id)) this.#expected.set(data.id, 0);
  }

  /** Whether a piece is the next one. Others are old, or wait for a `stream`. @param {string} id @param {number} index */
  take(id, index) {
    if (this.#expected.get(id) !== index) return false;
    this.#expected.set(id, index + 1);
    return true;
  }

  /** @param {string} id @param {number} index of the next piece */
  resync(id, index) {
    this.#expected.set(id, index);
  }

  clear() {
    this.#expected.clear();
  }
}
