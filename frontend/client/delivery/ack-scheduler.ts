/** When the server is told how far we are: soon after something has come, and at once after much. */
import type { Timeouts } from "../clock.ts";
import { ACK_ENTRIES, ACK_EVERY } from "../limits.ts";

export class AckScheduler {
  #timeouts;
  #acknowledge;
  /** The entries that came since the last acknowledgement. */
  #entries = 0;

  /** @param timeouts of the connection */
  constructor(timeouts: Timeouts, acknowledge: () => void) {
    this.#timeouts = timeouts;
    this.#acknowledge = acknowledge;
  }

  /** Something has come. @param entries of the log among it */
  came(entries: number) {
    this.#entries += entries;
    if (this.#entries >= ACK_ENTRIES) this.#now();
    else if (!this.#timeouts.runs("ack")) this.#timeouts.start("ack", ACK_EVERY, () => this.#now());
  }

  #now() {
    this.#timeouts.cancel("ack");
    this.#entries = 0;
    this.#acknowledge();
  }
}
