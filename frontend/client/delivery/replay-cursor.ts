/** What has been received of the log, by the numbers of its entries: `logSeq`, on the wire `seq`. */
import type { Entry } from "../protocol.ts";

/** How much of the session's log has been applied. */
export class ReplayCursor {
  /** The highest `logSeq` up to which everything is here. */
  received = 0;
  /** What has come, and may wait for its predecessors */
  #parked: Map<number, Entry> = new Map();

  has(logSeq: number) {
    return logSeq <= this.received || this.#parked.has(logSeq);
  }

  /** Keep an entry until those before it are here. */
  park(entry: Entry) {
    this.#parked.set(entry.seq, entry);
  }

  /** The entry whose turn has come, if it is here: it is received now. */
  next() {
    const entry = this.#parked.get(this.received + 1);
    if (entry) this.#parked.delete(++this.received);
    return entry;
  }

  /** Start again behind `logSeq`: what was parked comes again in the replay. */
  restart(logSeq: number) {
    this.received = logSeq;
    this.#parked.clear();
  }
}
