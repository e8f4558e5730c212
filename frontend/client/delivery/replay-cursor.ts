/** What has been received of the log. */
import type { Entry } from "../protocol.ts";

/** How much of the session's log has been applied. */
export class ReplayCursor {
  /** The highest `seq` up to which everything is here. */
  received = 0;
  /** What has come, and may wait for its predecessors */
  #parked: Map<number, Entry> = new Map();

  has(seq: number) {
    return seq <= this.received || this.#parked.has(seq);
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

  /** Start again behind `seq`: what was parked comes again in the replay. */
  restart(seq: number) {
    this.received = seq;
    this.#parked.clear();
  }
}
