/** What has been received of the log. */
import type { Entry } from "../protocol.ts";

/** How much of the session's log has been applied. */
export class ReplayCursor {
  /** The highest `seq` up to which everything is here. */
  received = 0;
  /** Own entries whose `accepted` came before their predecessors */
  #parked: Map<number, Entry> = new Map();

  /** Where an entry belongs: to be applied now, known already, or behind a hole. */
  place(seq: number) {
    if (seq <= this.received) return "old";
    return seq === this.received + 1 ? "next" : "hole";
  }

  has(seq: number) {
    return seq <= this.received || this.#parked.has(seq);
  }

  /** Keep an entry until those before it are here. */
  park(entry: Entry) {
    this.#parked.set(entry.seq, entry);
  }

  /** The parked entry whose turn has come. */
  unpark() {
    const entry = this.#parked.get(this.received + 1);
    this.#parked.delete(this.received + 1);
    return entry;
  }

  /** Start again behind `seq`: what was parked comes again in the replay. */
  restart(seq: number) {
    this.received = seq;
    this.#parked.clear();
  }
}
