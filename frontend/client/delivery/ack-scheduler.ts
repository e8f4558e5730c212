/** When the server is told how far we are. */
import { Timeouts, type Timers } from "../clock.ts";

/** Milliseconds between acknowledgements while something arrives, and entries that bring one at once. */
const ACK_EVERY = 1_000;
const ACK_ENTRIES = 32;

/** Tells the server how far we are, soon after something has come. */
export class AckScheduler {
  #timeouts;
  #acknowledge;
  #entries = 0;

  constructor(timers: Timers, acknowledge: () => void) {
    this.#timeouts = new Timeouts(timers);
    this.#acknowledge = acknowledge;
  }

  /** @param entries of the log; 0 for what is not in it */
  arrived(entries: number) {
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
